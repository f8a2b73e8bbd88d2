"""What a bundle chooses of a file is what the data pipeline chose of it."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from paretolens.data.picture_reader import read_pixels
from paretolens.data.pipeline.crop import make_cropper
from paretolens.data.pipeline.decode import Decoder, Sample, samples_of
from paretolens.data.pipeline.settings import FolderSettings, Take
from paretolens.data.preprocessing import Preprocessing
from paretolens.data.readers.listing import Item
from paretolens.data.reading import Crop, Reading, Select
from paretolens.errors import DataError, IntegrityError
from paretolens.exporters import clip_reader as reader
from paretolens.exporters.bundle import BundleContent, verify_bundle, write_bundle
from paretolens.exporters.bundle_model import PredictError
from paretolens.exporters.framing import FACE_MODEL, Framing
from paretolens.exporters.predict_template import Predictor
from paretolens.exporters.stream import judge_stream
from paretolens.search.cli import main

SIDE = 64
Helpers = Mapping[Crop, Mapping[str, Path]]
BOXES = {name: [[0.0, 4, 3, 20, 24], [0.4, 8, 2, 22, 20]] for name in ("usual", "short", "silent", "large", "slow")}


@pytest.fixture(scope="session")
def face_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A graph with YuNet's inputs and outputs that takes the brightest cell of a picture for a face."""
    nodes, outputs, stored = [], [], []
    for stride in (8, 16, 32):
        count = (SIDE // stride) ** 2
        nodes += [
            helper.make_node("AveragePool", ["input"], [f"mean_{stride}"], kernel_shape=[stride] * 2, strides=[stride] * 2),
            helper.make_node("ReduceMean", [f"mean_{stride}"], [f"grey_{stride}"], axes=[1]),
            helper.make_node("Div", [f"grey_{stride}", "top"], [f"share_{stride}"]),
            helper.make_node("Reshape", [f"share_{stride}", "column"], [f"cls_{stride}"]),
            helper.make_node("Sqrt", [f"cls_{stride}"], [f"root_{stride}"]),
            helper.make_node("Sqrt", [f"root_{stride}"], [f"obj_{stride}"]),
            helper.make_node("Mul", [f"cls_{stride}", f"sizes_{stride}"], [f"bbox_{stride}"]),
        ]
        stored.append(helper.make_tensor(f"sizes_{stride}", TensorProto.FLOAT, [1, 1, 4], [0.2, 0.1, 0.9, 1.2]))
        outputs += [
            helper.make_tensor_value_info(f"{kind}_{stride}", TensorProto.FLOAT, [1, count, 4 if kind == "bbox" else 1])
            for kind in ("cls", "obj", "bbox")
        ]
    stored += [
        helper.make_tensor("top", TensorProto.FLOAT, [], [255.0]),
        helper.make_tensor("column", TensorProto.INT64, [3], [1, -1, 1]),
    ]
    seen = helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    graph = helper.make_graph(nodes, "brightest", [seen], outputs, stored)
    path = tmp_path_factory.mktemp("faces") / "faces.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.fixture(scope="session")
def helpers(face_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Helpers:
    """Settings of each way of cropping."""
    path = tmp_path_factory.mktemp("boxes") / "boxes.json"
    path.write_text(json.dumps({f"{name}.mp4": rows for name, rows in BOXES.items()}))
    return {Crop.CENTRE: {}, Crop.YUNET: {"face_model": face_model}, Crop.BOXES: {"boxes": path}}


def settings_of(path: Path, crop: Crop, helpers: Helpers, **given: Any) -> FolderSettings:
    return FolderSettings(**{"path": path, "size": 32, "frames": 4, "fps": 8.0, "crop": crop, **helpers[crop], **given})


def framing_of(settings: FolderSettings, place: Path) -> Framing:
    """As a bundle of a student that was trained with these settings has it."""
    digest = "" if settings.face_model is None else hashlib.sha256(settings.face_model.read_bytes()).hexdigest()
    reading = settings.preprocessing(face_model=digest).reading
    assert reading is not None
    if settings.face_model is not None:
        (place / FACE_MODEL).write_bytes(settings.face_model.read_bytes())
    manifest = {"preprocessing": {"reading": asdict(reading)}, "files": {FACE_MODEL: {"sha256": digest}}}
    return Framing(place, json.loads(json.dumps(manifest)), settings.boxes)


def trained_on(path: Path, settings: FolderSettings) -> Sample:
    decoder = Decoder(root=path.parent, settings=settings, cropper=make_cropper(settings))
    (sample,) = samples_of(Item(file=path.name, fake=False), decoder)
    return sample


@pytest.mark.parametrize(
    ("select", "crop"),
    [
        (Select.MOTION, Crop.CENTRE),
        (Select.SHARPNESS, Crop.CENTRE),
        (Select.CONTENT, Crop.CENTRE),
        (Select.UNIFORM, Crop.YUNET),
        (Select.DIVERSITY, Crop.YUNET),
        (Select.UNIFORM, Crop.BOXES),
        (Select.MOTION, Crop.BOXES),
    ],
)
def test_a_clip_is_framed_as_it_was_in_training(
    select: Select, crop: Crop, clips: Mapping[str, Path], helpers: Helpers, tmp_path: Path
) -> None:
    settings = settings_of(clips["usual"].parent, crop, helpers, select=select, oversample=3)
    framing, clip = framing_of(settings, tmp_path), asdict(settings.preprocessing().of_clips())
    plain_differ = 0
    for path in clips.values():
        sample = trained_on(path, settings)
        wanted = {name.removeprefix("input_"): array for name, array in sample.arrays.items()}
        found, _, _ = reader.read_clip(path, clip, start=sample.start, framing=framing)
        for name in ("video", "video_mask", "audio_mask"):
            np.testing.assert_array_equal(found[name], wanted[name], err_msg=f"{path.name} {name}")
        np.testing.assert_allclose(found["audio"], wanted["audio"], atol=2e-3)
        plain, _, _ = reader.read_clip(path, clip, start=sample.start)
        plain_differ += not np.array_equal(plain["video"], found["video"])
    assert plain_differ >= 3, "the usual reading would have been another one"


@pytest.mark.parametrize("crop", [Crop.YUNET, Crop.BOXES])
def test_a_picture_is_framed_as_it_was_in_training(crop: Crop, helpers: Helpers, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 90, (70, 90, 3)).astype(np.uint8)
    picture[40:60, 10:30] = 250
    Image.fromarray(picture).save(tmp_path / "a.png")
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"a.png": [[0, 5, 6, 30, 20]]}))
    settings = settings_of(tmp_path, crop, {**helpers, Crop.BOXES: {"boxes": boxes}}, take=Take.PICTURES)
    wanted = trained_on(tmp_path / "a.png", settings).arrays["input_image"]
    box = framing_of(settings, tmp_path).box_in(tmp_path / "a.png")
    np.testing.assert_array_equal(read_pixels(tmp_path / "a.png", 32, "crop", box), wanted)
    assert not np.array_equal(read_pixels(tmp_path / "a.png", 32, "crop"), wanted)


def test_frames_of_a_folder_are_chosen_and_cut_too(helpers: Helpers, tmp_path: Path) -> None:
    folder = tmp_path / "frames"
    folder.mkdir()
    for index in range(24):
        picture = np.full((40, 40, 3), 30, np.uint8)
        picture[8:16, 8:16] = 250  # the face; it changes in two frames
        picture[10:14, 10:14] = 90 if index in (9, 17) else 250
        Image.fromarray(picture).save(folder / f"{index}.png")
    settings = settings_of(folder, Crop.YUNET, helpers, select=Select.MOTION, oversample=6, size=8, margin=0.0)
    framing, clip = framing_of(settings, tmp_path), asdict(settings.preprocessing().of_clips())
    arrays, seconds, note = reader.read_clip(
        folder, clip, framing=framing
    )  # 48 pictures a second, as many as there are candidates
    means = arrays["video"].mean(axis=(1, 2, 3))
    assert (seconds, note) == (0.5, "no sound: the audio is masked")
    assert means[0] < means[1] and means[2] < means[3], "the two frames that change, and those in which they change back"
    assert means.min() > 60, "around the bright part: of all of a picture it would be 39"


def test_a_clip_without_a_face_is_judged_by_its_middle_and_that_is_said(helpers: Helpers, tmp_path: Path) -> None:
    folder = tmp_path / "dark"
    folder.mkdir()
    for index in range(4):
        Image.new("RGB", (40, 40), (20, 20, 20)).save(folder / f"{index}.png")
    framing = framing_of(settings_of(folder, Crop.YUNET, helpers), tmp_path)
    clip = asdict(settings_of(folder, Crop.CENTRE, helpers).preprocessing().of_clips())
    assert reader.read_clip(folder, clip, framing=framing)[2].endswith("; no face was found: the central square is judged")


def framed(content: BundleContent, reading: Reading, *files: Path) -> BundleContent:
    preprocessing = replace(content.preprocessing, reading=reading)
    return replace(content, preprocessing=preprocessing, extra={**content.extra, **dict(zip([FACE_MODEL], files, strict=False))})


def test_a_bundle_finds_faces_with_its_own_files_alone(
    content: BundleContent, clips: Mapping[str, Path], face_model: Path, tmp_path: Path
) -> None:
    digest = hashlib.sha256(face_model.read_bytes()).hexdigest()
    reading = Reading(select=Select.MOTION, oversample=3, crop=Crop.YUNET, margin=0.3, face_model=digest)
    with pytest.raises(IntegrityError, match="the file that found faces in training is gone"):
        write_bundle(tmp_path / "none", framed(content, reading))
    place = write_bundle(tmp_path / "bundle", framed(content, reading, face_model))
    assert Preprocessing.from_json(verify_bundle(place)["preprocessing"]).reading == reading
    assert "pillow==" in (place / "requirements.txt").read_text()
    assert "face_model.onnx" in (place / "MODEL_CARD.md").read_text()
    predictor = Predictor(place)
    wanted = predictor.predict(clips["large"])
    guard = (
        "import runpy, sys\n"
        "class Guard:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'paretolens', 'onnx'):\n"
        "            raise ImportError(f'{name} must not be needed')\n"
        "sys.meta_path.insert(0, Guard())\n"
        "sys.argv = sys.argv[1:]\n"
        "sys.path.insert(0, sys.argv[0].rpartition('/')[0])\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    command = [sys.executable, "-c", guard, str(place / "predict.py"), "--json", str(clips["large"])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["logit"] == pytest.approx(wanted["logit"], abs=1e-6)
    with pytest.raises(DataError, match="a stream is read evenly"):
        next(judge_stream(predictor, str(clips["large"])))
    (place / FACE_MODEL).write_bytes(b"other")
    with pytest.raises(PredictError, match=r"face_model\.onnx does not match its checksum"):
        Predictor(place)


def test_boxes_are_asked_for_where_a_model_needs_them_and_refused_elsewhere(
    content: BundleContent, clips: Mapping[str, Path], helpers: Helpers, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes, large = str(helpers[Crop.BOXES]["boxes"]), str(clips["large"])
    bundle = write_bundle(tmp_path / "usual", content)
    place = write_bundle(tmp_path / "boxed", framed(content, Reading(crop=Crop.BOXES, margin=0.1)))
    assert main(["predict", str(place), large]) == 2
    assert "this model was trained on boxes of a list: name one" in capsys.readouterr().err
    assert main(["predict", str(place), large, "--boxes", boxes]) == 0
    other = tmp_path / "other.json"
    other.write_text('{"b.mp4": []}')
    assert main(["predict", str(place), large, "--boxes", str(other)]) == 2
    assert "--boxes must have an entry for every file, large.mp4 is not in it" in capsys.readouterr().err
    other.write_text('{"b.mp4": [[1]]}')
    assert (
        main(["predict", str(place), str(clips["large"].parent), "--output", str(tmp_path / "a.csv"), "--boxes", str(other)]) == 2
    )
    assert "other.json is not" in capsys.readouterr().err
    assert main(["predict", str(bundle), large, "--boxes", boxes]) == 2
    assert "leave --boxes" in capsys.readouterr().err
