"""Two saved models on a folder of clips: what is accepted, what is refused, and that the table says what was scored."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from paretolens.data.clips import read_clip
from paretolens.data.generated.encode import write_clip
from paretolens.data.generated.picture_settings import GeneratedPictures
from paretolens.data.prepare import pictures_folder, prepare_pictures
from paretolens.data.preprocessing import ClipSettings, Preprocessing, audio_visual_signature
from paretolens.data.samples import SampleSet
from paretolens.errors import BackendError, DataError
from paretolens.evaluators.eps import EpsSettings, ExplainedSet, Population
from paretolens.mlflow.records import read_study
from paretolens.mlflow.store import open_client
from paretolens.mlflow.tracking import MlflowTracker, StudyInfo
from paretolens.mlflow.twin import TWIN
from paretolens.models.record import MODEL_FILE, WEIGHTS_FILE, load_model, save_model
from paretolens.models.registry import build
from paretolens.models.signature import InputKind, InputSpec, Signature
from paretolens.search.cli import main
from paretolens.search.pair import explained_clips, score_pair

CLIP = ClipSettings(frames=4, fps=8.0, size=32)
QUICK = ("--set", "nodes=4", "--set", "probes=4", "--set", "change_share=0")


def samples(split: str, count: int = 12, *, seed: int = 0) -> SampleSet:
    signature, rng = audio_visual_signature(CLIP), np.random.default_rng(seed)
    shapes = {spec.name: (count, *spec.shape) for spec in signature.inputs}
    fakes = np.arange(count) % 2
    return SampleSet(
        signature=signature,
        preprocessing=Preprocessing(clip=CLIP),
        arrays={
            "video": rng.integers(0, 256, shapes["video"], dtype=np.uint8),
            "audio": rng.normal(size=shapes["audio"]).astype(np.float32),
            "video_mask": np.zeros(shapes["video_mask"], bool),
            "audio_mask": np.zeros(shapes["audio_mask"], bool),
        },
        labels=fakes.astype(np.float32),
        ids=tuple(f"{split}/{row:06d}" for row in range(count)),
        groups=np.arange(count) // 2,
        identities=np.arange(count) // 2,
        kinds=tuple("mouth" if fake else "real" for fake in fakes),
        strengths=fakes.astype(np.float32),
        offsets=np.full(count, 5),
        regions=np.zeros((count, 4, 16, 16), bool),
        periods=np.zeros((count, 2), np.float32),
        mean_image=np.full((3, 32, 32), 120.0, np.float32),
        fingerprint="",
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Teacher and student, a set with a test and a train split, a folder of video files, an exported file alone."""
    folder = tmp_path_factory.mktemp("pair")
    length = audio_visual_signature(CLIP).inputs[1].shape[0]
    sizes = {"input_frames": 4, "input_size": 32, "audio_frames": length, "backbone": "resnet18", "backbone_width": 0.125}
    for seed, name, width in ((0, "teacher", 32), (1, "student", 16)):
        torch.manual_seed(seed)
        model = build("pinpoint", width=width, depth=1, heads=2, **sizes)
        with torch.no_grad():
            model.verdict.bias.fill_(4.0)  # type: ignore[union-attr, operator]  # calls every clip a fake
        save_model(model, folder / name / "model" if name == "student" else folder / name)
    for seed, split in enumerate(("test", "train")):
        samples(split, seed=seed).save(folder / "set" / split)
    (folder / "clips").mkdir()
    pictures = np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    for name in ("a.mp4", "b.mp4"):
        write_clip(folder / "clips" / name, pictures, 8.0, np.zeros(8000, np.float32), 16000, crf=10, bit_rate=96_000)
    (folder / "exported").mkdir()
    (folder / "exported" / "model.onnx").write_bytes(b"")
    return folder


def run(place: Path, *more: str, teacher: str = "teacher", student: str = "student", data: str = "set") -> int:
    names = {"teacher": teacher, "student": student, "data": data}
    flags = [part for name, value in names.items() for part in (f"--{name}", str(place / value))]
    return main(["eps", *flags, *QUICK, *more])


def test_prints_a_table_and_writes_json(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(place, "--json", str(place / "score.json")) == 0
    shown = capsys.readouterr().out
    written = json.loads((place / "score.json").read_text())
    metrics = written["metrics"]
    for figure in (
        metrics["eps"],
        metrics["eps_video_rho"],
        metrics["eps_audio_iou"],
        metrics["agreement_explained"],
        metrics["eps_second"],
    ):
        assert f"{figure:.3f}" in shown
    assert f"{metrics['eps_eligible']:.0f} eligible" in shown
    assert metrics["eps_eligible"] + metrics["eps_excluded"] == 6  # the fakes of the test split
    assert written["settings"]["nodes"] == 4
    assert written["second"]["explainer"].startswith("GradCam")


def test_one_clip_has_no_interval(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(place, "--samples", "1", "--second", "none", "--json", str(place / "one.json")) == 0
    assert "n = 1: no interval" in capsys.readouterr().out
    assert not {"eps_low", "eps_high"} & json.loads((place / "one.json").read_text())["metrics"].keys()


def test_a_model_is_its_own_best_student(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(place, "--second", "none", "--explainer", "gradient_shap", student="teacher") == 0
    shown = capsys.readouterr().out
    assert "EPS by GradientShap" in shown
    assert "1.000" in shown


def test_video_files_need_a_set_that_tells_how_they_become_inputs(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(place, data="clips") == 2
    assert "name one with --like" in capsys.readouterr().err
    assert run(place, "--like", str(place / "set" / "test"), "--second", "none", data="clips") == 0
    assert "2 eligible" in capsys.readouterr().out


def test_which_video_files_are_taken_is_drawn(place: Path) -> None:
    kinds = {
        explained_clips(place / "clips", EpsSettings(samples=1, seed=seed), split="test", like=place / "set" / "test").kinds
        for seed in range(8)
    }
    assert kinds == {("a",), ("b",)}, "not the first by name"


@pytest.mark.parametrize(
    ("given", "flags", "hint"),
    [
        ({"student": "exported"}, [], "an exported file has no gradients"),
        ({"student": "nothing"}, [], "no model is there"),
        ({"data": "nothing"}, [], "no clips are there"),
        ({}, ["--split", "train"], "are the training split"),
        ({}, ["--explainer", "gradcam"], "did you mean grad_cam?"),
        ({}, ["--explainer", "grad_cam:layer9"], "its layers: "),
        ({}, ["--set", "node=3"], "did you mean nodes?"),
        ({}, ["--device", "warp"], "not a device"),
    ],
)
def test_bad_input_ends_with_code_2_and_one_line(
    place: Path, given: dict[str, str], flags: list[str], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(place, *flags, **given) == 2
    error = capsys.readouterr().err
    assert hint in error
    assert len(error.strip().splitlines()) == 1


def spoilt(place: Path, name: str, spoil: Callable[[nn.Module], None], *, of: str = "student/model") -> str:
    """A saved model that something is wrong with."""
    model = load_model(place / of)
    with torch.no_grad():
        spoil(model)
    save_model(model, place / name)
    return name


def silence(model: nn.Module) -> None:
    """Its logit depends on its inputs no more."""
    model.get_parameter("verdict.weight").zero_()


def calm(model: nn.Module) -> None:
    """It calls nothing a fake."""
    model.get_parameter("verdict.bias").fill_(-50.0)


def break_norms(model: nn.Module) -> None:
    """Not a number in the middle of the network."""
    next(weight for name, weight in model.named_parameters() if "blocks" in name).fill_(torch.nan)


@pytest.mark.parametrize(
    ("role", "spoil", "hint"),
    [
        ("teacher", calm, "teacher: EPS needs samples of the population predicted_fake"),
        ("teacher", silence, "teacher: EPS needs samples of the population predicted_fake whose logit leaves the baseline's"),
        ("teacher", break_norms, "teacher: PinPoint gives logits that are not finite"),
        ("student", silence, "of the student's explanation maps that were compared are constant"),
        ("student", break_norms, "student: PinPoint gives logits that are not finite"),
    ],
)
def test_models_that_cannot_be_explained_end_with_code_2_and_one_line(
    place: Path, role: str, spoil: Callable[[nn.Module], None], hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = spoilt(place, f"{role}-{spoil.__name__}", spoil, of="teacher" if role == "teacher" else "student/model")
    assert run(place, "--second", "none", **{role: broken}) == 2
    error = capsys.readouterr().err
    assert hint in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(("forward", "hint"), [
    (lambda x: torch.sqrt(x.flatten(1).sum(1) * 0.0), "gradients that are not finite"),
    (lambda x: x.flatten(1).sum(1).round().detach(), "cannot be differentiated .* torch twin instead of the exported artefact"),
])  # fmt: skip
def test_gradients_that_say_nothing_are_told_of_the_student(forward: Callable[[Tensor], Tensor], hint: str) -> None:
    class Given(nn.Module):
        """The verdict of a function."""

        def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
            super().__init__()
            self.function = function

        def forward(self, image: Tensor) -> Tensor:
            return self.function(image)

    signature = Signature(inputs=(InputSpec(name="image", shape=(3, 8, 8), kind=InputKind.IMAGE),), outputs=("logit",))
    images = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    explained = ExplainedSet.of_tensors(signature, [images], [torch.zeros(1, 3, 8, 8)])
    teacher = Given(lambda x: (x * x).flatten(1).sum(1))
    settings = EpsSettings(nodes=4, probes=4, second="none", population=Population.ALL)
    with pytest.raises(BackendError, match=f"^student: Given .*{hint}"):
        score_pair(teacher, Given(forward), explained, settings)


def test_clips_that_were_trained_on_are_refused_whatever_they_are_called(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    renamed, like = samples("test", seed=1), samples("test", seed=2)
    renamed.save(place / "renamed" / "test")
    samples("train", seed=1).save(place / "renamed" / "train")
    assert run(place, data="renamed") == 2
    assert "12 of 12" in (error := capsys.readouterr().err) and "are in the training split" in error
    clip = read_clip(place / "clips" / "a.mp4", CLIP).arrays
    arrays = {name: np.concatenate([clip[name][None], like.arrays[name][1:]]) for name in clip}
    for split in ("test", "train"):
        replace(samples(split, seed=2), arrays=arrays).save(place / "known" / split)
    assert run(place, "--like", str(place / "known" / "test"), data="clips") == 2
    assert "2 of 2" in (error := capsys.readouterr().err) and "first: a)" in error


def test_models_out_of_mlflow(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], new_store: Callable[[Path], str]
) -> None:
    uri = new_store(tmp_path / "mlflow.db")
    with MlflowTracker(tracking_uri=uri, spool=None) as tracker:
        tracker.start_study(StudyInfo(name="kept"))
        tracker.log_artifacts(None, {TWIN: [place / "teacher" / name for name in (MODEL_FILE, WEIGHTS_FILE)]})
        tracker.start_trial("0", params={}, genome="g")
        tracker.log_artifacts("0", {TWIN: [place / "student" / "model" / name for name in (MODEL_FILE, WEIGHTS_FILE)]})
        tracker.start_trial("1", params={}, genome="h")
        tracker.log_artifacts("1", {"model": [place / "exported" / "model.onnx"]})
    study = read_study("kept", tracking_uri=uri)
    one, other = (str(run_id) for run_id in study.trials.sort_values("trial")["run_id"])
    client = open_client(uri)
    client.create_registered_model("kept")
    version = client.create_model_version("kept", source=str(tmp_path), run_id=one)
    client.set_registered_model_alias("kept", "knee", version.version)
    shown = []
    for teacher, student in (("teacher", "student"), (f"runs:/{study.run_id}", f"runs:/{one}"), ("teacher", "models:/kept@knee")):
        names = {"teacher": teacher, "student": student, "data": "set"}
        flags = [part for name, value in names.items() for part in (f"--{name}", value if ":" in value else str(place / value))]
        assert main(["eps", *flags, *QUICK, "--tracking-uri", uri]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] == shown[2]
    flags = ["--teacher", str(place / "teacher"), "--student", f"runs:/{other}", "--data", str(place / "set")]
    assert main(["eps", *flags, "--tracking-uri", uri]) == 2
    error = capsys.readouterr().err
    assert "no torch twin" in error and "has no gradients" in error and len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"audio_frames": 7}, "it takes audio (7, 13), audio_mask (7,), the clips have audio ("),
        ({"input_size": 48}, "it takes video (4, 3, 48, 48), the clips have video (4, 3, 32, 32)"),
        ({"input_frames": 2}, "it takes video (2, 3, 32, 32), video_mask (2,), the clips have video (4, 3, 32, 32)"),
    ],
)
@pytest.mark.parametrize("role", ["teacher", "student"])
def test_models_with_other_inputs_are_refused(
    place: Path, role: str, other: dict[str, int], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    length = audio_visual_signature(CLIP).inputs[1].shape[0]
    sizes = {"input_frames": 4, "input_size": 32, "audio_frames": length, "backbone_width": 0.125, "width": 16}
    save_model(build("pinpoint", depth=1, heads=2, **{**sizes, **other}), place / "other")
    assert run(place, **{role: "other"}) == 2
    error = capsys.readouterr().err
    assert f"{role}: " in error and "must take the same inputs" in error and told in error
    assert len(error.strip().splitlines()) == 1


def test_the_example_in_the_docs_runs(tmp_path: Path) -> None:
    """The very lines of docs/eps-any-model.md."""
    page = (Path(__file__).parents[2] / "docs" / "eps-any-model.md").read_text(encoding="utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    found: dict[str, object] = {}
    here = Path.cwd()
    try:
        os.chdir(tmp_path)
        exec(compile(code, "docs/eps-any-model.md", "exec"), found)
    finally:
        os.chdir(here)
    score = found["score"]
    assert -0.5 <= score.eps <= 1.0  # type: ignore[attr-defined]  # an EpsScore


def test_a_folder_of_pictures_is_explained_as_the_set_they_are_like(tmp_path: Path) -> None:
    made = GeneratedPictures(seed=2, train=4, val=4, test=2, unseen=2, size=48, pictures_per_identity=4)
    sets = prepare_pictures(made, tmp_path / "cache", workers=1)
    folder = tmp_path / "mine"
    folder.mkdir()
    for number, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (3, 48, 48, 3), np.uint8)):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    (folder / "notes.txt").write_text("no picture")
    found = explained_clips(folder, EpsSettings(samples=8), split="test", like=sets["val"].folder)
    assert found.kinds == ("0", "1", "2")
    assert found.inputs[0].shape == (3, 3, 48, 48)
    taken = pictures_folder(made, tmp_path / "cache") / "train"
    with pytest.raises(DataError, match="4 of 4"):
        explained_clips(taken, EpsSettings(samples=8), split="test", like=sets["val"].folder)
