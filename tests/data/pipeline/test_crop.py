import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from paretolens.data.face_finder import box_around, decode_boxes
from paretolens.data.folder import FolderSource
from paretolens.data.generated.encode import write_clip
from paretolens.data.pipeline.crop import ListedBoxes, make_cropper
from paretolens.data.pipeline.settings import FolderSettings
from paretolens.data.pipeline.yunet import YuNet
from paretolens.data.reading import Crop
from paretolens.errors import DataError

SIDE = 64


def outputs(face: tuple[int, int, int], shift: tuple[float, float, float, float]) -> dict[str, np.ndarray]:
    """YuNet's outputs with one face: (stride, row, column) of its cell and what its box says."""
    made = {}
    for stride in (8, 16, 32):
        cells = SIDE // stride
        score, boxes = np.full((1, cells**2, 1), 0.01, np.float32), np.zeros((1, cells**2, 4), np.float32)
        if stride == face[0]:
            score[0, face[1] * cells + face[2]] = 0.81
            boxes[0, face[1] * cells + face[2]] = shift
        made |= {f"cls_{stride}": score, f"obj_{stride}": np.ones_like(score), f"bbox_{stride}": boxes}
    return made


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A graph with YuNet's inputs and outputs that always sees one face, at (24, 40) with sides 16 and 32."""
    constants = outputs((8, 5, 3), (0.0, 0.0, float(np.log(2.0)), float(np.log(4.0))))
    nodes = [
        helper.make_node("ReduceSum", ["input"], ["total"], keepdims=0),
        helper.make_node("Mul", ["total", "zero"], ["nothing"]),
    ]
    nodes += [helper.make_node("Add", [f"{name}_value", "nothing"], [name]) for name in constants]
    stored = [helper.make_tensor(f"{n}_value", TensorProto.FLOAT, v.shape, v.ravel()) for n, v in constants.items()]
    stored.append(helper.make_tensor("zero", TensorProto.FLOAT, [], [0.0]))
    graph = helper.make_graph(
        nodes,
        "faces",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in constants.items()],
        stored,
    )
    path = tmp_path / "faces.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def test_boxes_are_decoded_as_opencv_does() -> None:
    boxes, scores = decode_boxes(outputs((16, 1, 2), (0.25, -0.5, np.log(2.0), np.log(1.5))), SIDE, SIDE)
    best = int(scores.argmax())
    assert scores[best] == pytest.approx(0.9)  # √(.81 · 1)
    # OpenCV: cx = (2 + .25)·16, cy = (1 - .5)·16, w = 2·16, h = 1.5·16
    np.testing.assert_allclose(boxes[best], (36 - 16, 8 - 12, 32, 24), rtol=1e-6)


def test_faces_are_found_in_the_pictures_own_pixels(model: Path, tmp_path: Path) -> None:
    pictures = np.zeros((8, 128, 128, 3), np.uint8)
    write_clip(tmp_path / "clip.mp4", pictures, 8.0, None, 16_000, crf=20, bit_rate=32_000)
    found = YuNet(model).find("clip.mp4", tmp_path / "clip.mp4", [0.1, 0.5])
    np.testing.assert_allclose(found, [(0.1, 32, 48, 32, 64), (0.5, 32, 48, 32, 64)], rtol=1e-5)  # twice the model's side


def test_a_model_that_is_no_yunet_is_refused(tmp_path: Path) -> None:
    (tmp_path / "no.onnx").write_bytes(b"no")
    with pytest.raises(DataError, match=r"data\.face_model must be a YuNet \.onnx file, .*no\.onnx"):
        YuNet(tmp_path / "no.onnx")


def test_a_box_is_a_square_with_room() -> None:
    assert box_around([(0.0, 10, 20, 20, 40), (1.0, 10, 20, 20, 40), (2.0, 90, 90, 8, 8)], 0.25) == (-10, 10, 50, 70)
    assert box_around([], 0.25) is None


def test_boxes_of_the_window_count_else_the_nearest() -> None:
    boxes = ListedBoxes({"a": [(0.0, 0, 0, 1, 1), (2.0, 5, 5, 1, 1), (2.5, 6, 6, 1, 1)]})
    assert [box[0] for box in boxes.find("a", Path("a"), [1.9, 2.6])] == [2.0, 2.5]
    assert [box[0] for box in boxes.find("a", Path("a"), [0.4, 0.6])] == [0.0]
    assert boxes.find("b", Path("b"), [0.0]) == []


@pytest.mark.parametrize("text", ["[1]", '{"a": [[0, 1, 2, 3]]}', '{"a": [[0, 1, 2, 0, 5]]}', "no"])
def test_bad_boxes_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "boxes.json").write_text(text)
    with pytest.raises(DataError, match=r"boxes must be JSON .*boxes\.json"):
        make_cropper(FolderSettings(path=tmp_path, crop=Crop.BOXES, boxes=tmp_path / "boxes.json"))


def test_faces_found_once_can_be_given_as_boxes(model: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    for kind in ("real", "fake"):
        (root / kind).mkdir(parents=True)
        for number in range(6):
            pictures = np.full((4, 64, 64, 3), 20, np.uint8)
            pictures[:, 40 - 16 : 40 + 16, 24 - 16 : 24 + 16] = 20 + 30 * number  # the model's face, squared
            write_clip(root / kind / f"{number}.mp4", pictures, 8.0, None, 16_000, crf=5, bit_rate=32_000)
    shares = {"val_share": 0.3, "test_share": 0.3, "path": root, "size": 16, "frames": 4, "margin": 0.0}
    found = FolderSource().prepare(FolderSettings(**shares, crop=Crop.YUNET, face_model=model), tmp_path / "cache", workers=1)
    train = found["train"]
    assert train.folder is not None
    levels = train.arrays["video"][:, 0, :, 2:-2, 2:-2].mean(axis=(1, 2, 3))
    assert len(set(np.round(levels / 30).tolist())) > 1
    boxes = train.folder.parent / "boxes.json"
    assert len(json.loads(boxes.read_text())) == 12
    given = FolderSource().prepare(FolderSettings(**shares, crop=Crop.BOXES, boxes=boxes), tmp_path / "cache", workers=1)
    np.testing.assert_array_equal(given["train"].arrays["video"], train.arrays["video"])
