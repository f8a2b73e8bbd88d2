"""README.md and MODEL_CARD.md of a bundle."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from paretolens.data.preprocessing import Fit
from paretolens.data.reading import Crop, Reading, Select

if TYPE_CHECKING:
    from paretolens.exporters.bundle import BundleContent, Objective

__all__ = ["GENERAL_LIMITS", "model_card", "readme"]


def readme(content: "BundleContent") -> str:
    """How to run the bundle."""
    pictures = content.preprocessing.picture is not None
    names = [f"`{name}`" for name in content.labels]
    said = f"{names[0]} or {names[-1]}, the\nprobability of {names[-1]}"
    if content.signature.classes:
        said = f"one of {', '.join(names)}, the\nprobability of each"
    file, library = ("picture.jpg", "pillow") if pictures else ("clip.mp4", "av")
    library += " and pillow" if content.preprocessing.reading is not None and not pictures else ""
    return f"""# {content.name}

{content.summary}

```
python -m venv .venv && .venv/bin/pip install -r requirements.txt
.venv/bin/python predict.py {file}
.venv/bin/python predict.py --json {file}
```

`predict.py` needs onnxruntime, numpy and {library}, nothing else. It prints {said}, and the milliseconds the model took.
`manifest.json` holds inputs, preprocessing, scores and checksums. `MODEL_CARD.md` says what the model
is for and what it is not for.

Check the files with `sha256sum --check SHA256SUMS`, or with `paretolens verify`, which also runs the samples in `sample.npz`
and compares with what they gave when the bundle was written. `paretolens predict` checks the files each time.
"""


def model_card(content: "BundleContent") -> str:
    """What the model is, what it scored, and its limits."""
    parts = [
        f"# {content.name}",
        content.summary,
        "## Scores of this file",
        _scores(content.objectives),
        _parity(content),
        *([_targets(content.targets)] if content.targets else []),
        "## Input",
        _input(content),
        "## Limits of use",
        "\n".join(f"- {limit}" for limit in (*content.limits, *GENERAL_LIMITS)),
    ]
    if content.details:
        parts += ["## Where it comes from", _details(content.details)]
    pictures = [name for name in content.extra if name.lower().endswith((".png", ".jpg", ".svg"))]
    if pictures:
        parts += ["## Explanations", "\n\n".join(f"![{name}]({name})" for name in pictures)]
    return "\n\n".join(parts) + "\n"


GENERAL_LIMITS = (
    "A verdict is a score, not a proof: never the only ground for a decision about a person.",
    "Kinds of manipulation, cameras and codecs that the training data lacks may be judged wrongly and with confidence.",
)


def _scores(objectives: "Mapping[str, Objective]") -> str:
    rows = ["| score | value | interval | better |", "|---|---|---|---|"]
    for name, objective in objectives.items():
        unit = f" {objective.unit}" if objective.unit else ""
        known = objective.low is not None and objective.high is not None
        interval = f"{objective.low:.4g} to {objective.high:.4g}" if known else "not given"
        rows.append(f"| {name} | {objective.value:.4g}{unit} | {interval} | {objective.direction} |")
    return "\n".join(rows)


def _parity(content: "BundleContent") -> str:
    parity = content.parity
    return (
        f"The file was compared with the torch model on {parity.samples} samples: logits differ by at most "
        f"{parity.max_difference:.2g}, and {100.0 * parity.decision_agreement:.4g} % of the verdicts agree under the runtime's "
        f"optimisations. Precision {content.artefact.precision}, {content.artefact.size_bytes / 1e6:.3g} MB, opset "
        f"{content.artefact.opset}."
    )


def _targets(targets: "Mapping[str, Mapping[str, Any]]") -> str:
    names = ("file", "runtime", "MB", "clips", "largest difference of a logit", "same verdict", "accuracy", "torch's accuracy")
    rows = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for record in targets.values():
        rows.append(
            f"| `{record['file']}` | {record['runtime']}, {record['precision']} | {record['size_bytes'] / 1e6:.3g} | "
            f"{record['samples']} | {record['max_difference']:.2g} ({record['worst_sample']}) | "
            f"{100 * record['decision_agreement']:.4g} % | {record['accuracy']:.4g} | {record['reference_accuracy']:.4g} |"
        )
    return "\n".join([*rows, "", *_explanations(targets)])


def _explanations(targets: "Mapping[str, Mapping[str, Any]]") -> list[str]:
    """EPS of each file by occlusion, beside its torch model's."""
    names = ("file", "EPS by occlusion", "interval", "torch's", "maps agree with torch's", "largest change of a clip", "clips")
    rows = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for record in targets.values():
        found = record["explanations"]
        rows.append(
            f"| `{record['file']}` | {found['eps']:.3f} | {found['low']:.3f} to {found['high']:.3f} | {found['reference']:.3f} | "
            f"{found['agreement']:.3f} | {found['largest_change']:.3f} ({found['worst_sample']}) | {found['samples']} |"
        )
    return [
        *rows,
        "",
        "Teacher, torch model and file are explained by occlusion here, which needs no gradients; `eps` above is of Integrated "
        "Gradients, which the torch model alone can give.",
    ]


def _input(content: "BundleContent") -> str:
    rows = [f"- `{spec.name}`: {' × '.join(map(str, spec.shape))} ({spec.kind})" for spec in content.signature.inputs]
    if (reading := content.preprocessing.reading) is not None:
        rows += ["", _reading(reading)]
    if (picture := content.preprocessing.picture) is not None:
        whole = "its central square" if picture.fit is Fit.CROP else "all of it, stretched to a square"
        seen = f"One sample is one picture: {whole}, {picture.size} × {picture.size} pixels, {picture.order.upper()}."
        return "\n".join([seen, "", *rows])
    clip = content.preprocessing.of_clips()
    window = (
        f"One sample covers {clip.seconds:g} s: {clip.frames} frames at {clip.fps:g} a second, {clip.size} × {clip.size} pixels, "
        f"and {clip.audio_frames} frames of {clip.audio.coefficients} MFCC at {clip.audio.rate} Hz. What is missing is masked."
    )
    return "\n".join([window, "", *rows])


def _reading(reading: Reading) -> str:
    """How frames and parts of pictures were chosen in training, and are by `predict.py`."""
    told = []
    if reading.select is not Select.UNIFORM:
        told.append(f"Of {reading.oversample} times as many frames those are taken that `{reading.select}` chooses.")
    if reading.crop is not Crop.CENTRE:
        found = "the face that `face_model.onnx` finds" if reading.crop is Crop.YUNET else "the box that a list names (`--boxes`)"
        told.append(f"Of each picture {found} is cut out with {100 * reading.margin:.4g} % of room, without one the middle.")
    if reading.crop is Crop.YUNET:
        told.append("`face_model.onnx` comes from whoever trained the model and has a licence of its own (OpenCV's YuNet: MIT).")
    return " ".join(told)


def _details(details: Mapping[str, Any]) -> str:
    rows = []
    for name, value in details.items():
        shown = ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, Mapping) else value
        rows.append(f"- {name}: {shown}")
    return "\n".join(rows)
