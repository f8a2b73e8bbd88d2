"""EPS of two saved models on a folder of clips, without a study."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from torch import nn

from paretolens.data.clips import read_clip
from paretolens.data.picture_reader import ENDINGS
from paretolens.data.pictures import read_picture
from paretolens.data.readers.listing import VIDEOS
from paretolens.data.samples import SampleSet
from paretolens.errors import BackendError, ConfigurationError, DataError, TrialError, UserError
from paretolens.evaluators.eps import EpsScore, EpsSettings, ExplainedSet, TeacherReference, score_eps
from paretolens.evaluators.eps.explained import stratified_choice
from paretolens.evaluators.explain import make_explainer
from paretolens.mlflow.twin import TWIN, fetch_twin, is_address
from paretolens.models.record import MODEL_FILE, load_model
from paretolens.models.registry import input_shapes
from paretolens.search.overlap import refuse_training_clips
from paretolens.trainers.quantise import quantisers_off

__all__ = ["PairScore", "explained_clips", "load_twin", "open_twin", "score_pair"]

RECORD = "set.json"
"""What makes a folder a prepared set."""
EXPORTED = (".onnx", ".engine", ".plan", ".trt")
"""Files that run but cannot be differentiated."""


@dataclass(frozen=True, kw_only=True)
class PairScore:
    """A student held against a teacher."""

    score: EpsScore
    """By the first explainer."""
    second: EpsScore | None
    """By the second, without pixel maps."""
    reference: TeacherReference
    """The teacher's side of the first."""

    def record(self) -> dict[str, Any]:
        """Plain values for JSON, with the definition of both scores."""
        found = self.score.record()
        if self.second is not None:
            found["metrics"] |= self.second.metrics_beside()
            found["second"] = self.second.record()
        return found


def open_twin(place: str, role: str, *, tracking_uri: str) -> nn.Module:
    """The torch model of a folder, as `load_twin` takes it, or of `models:/…` or `runs:/…` in a store.

    Raises:
        ConfigurationError: nothing is there, or the address is none.
        BackendError: only an exported file is there, which has no gradients.
        StoreError: the store cannot be read.
        IntegrityError: a file is damaged.
    """
    if not is_address(place):
        return load_twin(Path(place), role)
    with TemporaryDirectory(prefix="paretolens-twin-") as folder:
        return load_model(fetch_twin(place, Path(folder), tracking_uri=tracking_uri))


def load_twin(path: Path, role: str) -> nn.Module:
    """The torch model of a saved-model folder, or of a folder that has one in `model/` (a trial's) or `twin/` (of MLflow's).

    Raises:
        ConfigurationError: nothing is there.
        BackendError: only an exported file is there, which has no gradients.
        IntegrityError: a file is damaged.
    """
    for folder in (path, path / "model", path / TWIN):
        if (folder / MODEL_FILE).is_file():
            return load_model(folder)
    if path.suffix in EXPORTED or (path / "model.onnx").is_file():
        raise BackendError(
            f"{role} {path}: an exported file has no gradients to explain it by; give the folder of its torch twin, "
            f"which holds {MODEL_FILE} (in a trial's folder: model/)"
        )
    raise ConfigurationError(
        f"{role} {path}: no model is there; give a folder with {MODEL_FILE} and its weights, as "
        "paretolens.models.record.save_model writes it, or a trial's folder"
    )


def explained_clips(folder: Path, settings: EpsSettings, *, split: str, like: Path | None) -> ExplainedSet:
    """The clips to explain: of a prepared set its fakes, of a folder of video files any; drawn with the settings' seed.

    Args:
        folder: a prepared set, a folder of its splits, the `clips` folder beside these, or any folder of video files.
        settings: how many, and from which baseline.
        split: which split, where there are several.
        like: a prepared set that says how video files become inputs, and what the mean input is; prepared sets need none.

    Raises:
        DataError: nothing is there, or the clips are those that models were trained on.
    """
    for place in (folder, folder / split, folder.parent / split if folder.name == "clips" else folder):
        if (place / RECORD).is_file():
            samples = SampleSet.load(place)
            if any(name.startswith("train/") for name in samples.ids):
                raise DataError(
                    f"explained clips must be new to the models, those of {place} are the training split; give another split"
                )
            if (train := training_split(place)) is not None:
                refuse_training_clips(samples.arrays, samples.ids, train, place)
            return ExplainedSet.choose(samples, settings)
    wanted = _endings(like)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in wanted) if folder.is_dir() else []
    if not files:
        raise DataError(
            f"{folder}: no clips are there; give a prepared set ({RECORD}), a folder with a split {split}/, or a folder of "
            f"files ({', '.join(wanted)})"
        )
    if like is None or not (like / RECORD).is_file():
        raise DataError(
            f"{folder}: files become inputs as a prepared set says; name one with --like (a folder with {RECORD}), "
            f"got {like or 'none'}"
        )
    drawn = stratified_choice(["clip"] * len(files), settings.samples, settings.seed)
    return decoded([files[place] for place in drawn], like, settings)


def _endings(like: Path | None) -> tuple[str, ...]:
    """Endings of the files that become inputs as those of a prepared set: pictures for one of pictures, else videos."""
    if like is None or not (like / RECORD).is_file():
        return tuple(sorted(VIDEOS))
    return tuple(sorted(VIDEOS)) if SampleSet.load(like, verify=False).preprocessing.picture is None else ENDINGS


def training_split(place: Path) -> SampleSet | None:
    """The training split beside a prepared set; None where there is none."""
    train = place.parent / "train"
    return SampleSet.load(train) if (train / RECORD).is_file() else None


def decoded(files: list[Path], place: Path, settings: EpsSettings) -> ExplainedSet:
    """Video files or pictures, each its own group, prepared as the samples of the set in `place`."""
    like = SampleSet.load(place)
    clips = [_arrays(path, like) for path in files]
    arrays = {name: np.stack([clip[name] for clip in clips]) for name in clips[0]}
    names = tuple(path.stem for path in files)
    if (train := training_split(place)) is not None:
        refuse_training_clips(arrays, names, train, files[0].parent)
    baseline = ExplainedSet.choose(like, replace(settings, samples=1)).baseline  # the same for all samples
    found = ExplainedSet.of_tensors(like.signature, like.preprocessing.inputs(like.signature, arrays), baseline)
    return replace(found, kinds=names)


def _arrays(path: Path, like: SampleSet) -> Mapping[str, np.ndarray]:
    """One file as the arrays of a sample of that set."""
    like.preprocessing.require_usual()
    if like.preprocessing.picture is None:
        return read_clip(path, like.preprocessing.of_clips()).arrays
    return {like.signature.inputs[0].name: read_picture(path, like.preprocessing.picture)}


def score_pair(
    teacher: nn.Module,
    student: nn.Module,
    explained: ExplainedSet,
    settings: EpsSettings,
    *,
    student_explainer: str | None = None,
) -> PairScore:
    """Explain both and compare; quantisers are off meanwhile, for gradients through rounding do not add up.

    Raises:
        UserError: a model cannot be explained, or takes other inputs, its logits or gradients are not finite, all of its maps
            are constant, or no sample is worth it; the message says which model.
    """
    for role, model in (("teacher", teacher), ("student", student)):
        check_inputs(role, model, explained)
    with ExitStack() as stack:
        for model in (teacher, student):
            stack.enter_context(quantisers_off(model))
        other = settings.of_second()
        scores = []
        for chosen, name in ((settings, student_explainer), (other, None)):
            if chosen is not None:
                with blamed("teacher"):
                    reference = TeacherReference.compute(teacher, explained, chosen)
                explainer = None if name is None else make_explainer(name, **chosen.record())
                with blamed("student"):
                    scores.append((score_eps(student, reference, explainer=explainer), reference))
    second = scores[1][0] if len(scores) > 1 else None
    return PairScore(score=scores[0][0], second=second, reference=scores[0][1])


def check_inputs(role: str, model: nn.Module, explained: ExplainedSet) -> None:
    """Raise where a model was built for other inputs than the clips have; one that does not tell is tried.

    Networks of convolutions run on pictures of any size, and would be explained there on what they were never trained on.

    Raises:
        ConfigurationError: it was.
    """
    wanted, given = input_shapes(model), {spec.name: tuple(spec.shape) for spec in explained.signature.inputs}
    if wanted is None or list(wanted.items()) == list(given.items()):
        return
    names = [name for name in (*wanted, *given) if wanted.get(name) != given.get(name)] or [*wanted]
    raise ConfigurationError(
        f"{role}: teacher and student must take the same inputs, those of the clips: it takes {_listed(wanted, names)}, "
        f"the clips have {_listed(given, names)}; give a model and clips of one data set"
    )


def _listed(shapes: Mapping[str, tuple[int, ...]], names: list[str]) -> str:
    """`video (8, 3, 64, 64), audio (80, 13)`, of some of the inputs."""
    return ", ".join(f"{name} {shapes[name]}" for name in dict.fromkeys(names) if name in shapes) or "none of them"


@contextmanager
def blamed(role: str) -> Iterator[None]:
    """Say whose fault an error is; what ends one trial of a search is wrong input where a model was given by hand."""
    try:
        yield
    except TrialError as error:
        raise BackendError(f"{role}: {error}") from error
    except UserError as error:
        raise type(error)(f"{role}: {error}") from error


def rows_of(score: EpsScore) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Lines of a score's table: the whole, then each modality, then the signed pixel maps."""
    whole = {"eps": score.eps, "low": score.ci_low, "high": score.ci_high, "samples": float(score.eligible)}
    counted = [part for part in score.modalities.values() if part.samples]
    means = {name: float(np.mean([getattr(part, name) for part in counted])) for name in ("rho", "iou")}
    yield "all", {**whole, **means}
    for prefix, found in (("", score.modalities), ("pixels, ", score.pixel_modalities)):
        for name, part in found.items():
            yield f"{prefix}{name}", {"eps": part.eps, "rho": part.rho, "iou": part.iou, "samples": float(part.samples)}
