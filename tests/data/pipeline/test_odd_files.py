"""Files as they come from phones, web sites and broken downloads: each is read or skipped with a reason, none stops the run."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from paretolens.data.folder import FolderSource
from paretolens.data.pipeline.decode import Decoder, Sample, samples_of
from paretolens.data.pipeline.settings import FolderSettings, Take
from paretolens.data.preprocessing import Fit
from paretolens.data.readers.listing import Item
from paretolens.errors import DataError


def read(path: Path, **change: Any) -> list[Sample]:
    settings = FolderSettings(**{"path": path.parent, "size": 32, "frames": 8, "fps": 8.0} | change)
    item = Item(file=path.name, fake=True, kind="swap", fake_picture=True)
    return list(samples_of(item, Decoder(root=path.parent, settings=settings)))


def test_missing_audio_is_masked(tmp_path: Path, encode) -> None:
    (sample,) = read(encode(tmp_path / "mute.mp4", frames=8, sound=False))
    assert sample.arrays["input_audio_mask"].all()
    assert "no sound" in sample.note


def test_one_frame_is_a_clip_of_one_frame(tmp_path: Path, encode) -> None:
    (sample,) = read(encode(tmp_path / "one.mp4", frames=1))
    assert sample.arrays["input_video_mask"].tolist() == [False] + [True] * 7
    assert sample.arrays["regions"].any(axis=(1, 2)).tolist() == [True] + [False] * 7
    (picture,) = read(encode(tmp_path / "one.mp4", frames=1), take=Take.PICTURES)
    assert abs(float(picture.arrays["input_image"].mean()) - 40) < 3


def test_a_variable_frame_rate_is_read_by_the_clock(tmp_path: Path) -> None:
    """Ten frames in the first tenth of a second, then one that stays for the rest of the second."""
    path = tmp_path / "variable.mp4"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=100, options={"crf": "5", "x264-params": "bframes=0"})
        stream.width = stream.height = 32
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for pts, level in [*((10 * k, 50) for k in range(10)), (100, 200), (999, 200)]:
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), level, np.uint8), format="rgb24")
            frame.pts, frame.time_base = pts, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (sample,) = read(path)
    levels = sample.arrays["input_video"].mean(axis=(1, 2, 3))
    np.testing.assert_allclose(levels, [50] + [200] * 7, atol=4)


def test_a_truncated_file_and_an_empty_one_are_skipped_with_a_reason(tmp_path: Path, encode) -> None:
    path = encode(tmp_path / "cut.mp4")
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(DataError, match=r"cut\.mp4"):
        read(path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"cut\.mp4"):
        read(path)


def test_the_content_counts_not_the_extension(tmp_path: Path, encode) -> None:
    path = encode(tmp_path / "clip.mp4", frames=8)
    renamed = path.rename(tmp_path / "clip.avi")
    assert len(read(renamed)) == 1
    Image.new("RGB", (40, 40), (200, 0, 0)).save(tmp_path / "real.png")
    (tmp_path / "real.png").rename(tmp_path / "picture.jpg")
    (sample,) = read(tmp_path / "picture.jpg", take=Take.PICTURES)
    assert sample.arrays["input_image"][:, 5, 5].tolist() == [200, 0, 0]
    (tmp_path / "picture.jpg").rename(tmp_path / "picture.mp4")
    with pytest.raises(DataError, match=r"picture\.mp4 is a still picture"):
        read(tmp_path / "picture.mp4")


@pytest.mark.parametrize("name", ["a.webp", "b.jfif", "c.png", "d.jpg", "e.bmp", "f.tiff"])
def test_every_kind_of_picture_is_read(tmp_path: Path, name: str) -> None:
    formats = {".jfif": "JPEG"}
    Image.new("RGB", (48, 40), (30, 160, 90)).save(tmp_path / name, format=formats.get(Path(name).suffix), quality=95)
    (sample,) = read(tmp_path / name, take=Take.PICTURES)
    np.testing.assert_allclose(sample.arrays["input_image"].mean(axis=(1, 2)), (30, 160, 90), atol=4)


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    Image.new("1", (12_000, 9_000)).save(tmp_path / "huge.png")
    with pytest.raises(DataError, match=r"huge\.png is not .*12000 × 9000 pixels"):
        read(tmp_path / "huge.png", take=Take.PICTURES)


def test_a_wide_video_keeps_its_middle_or_all_of_it(tmp_path: Path) -> None:
    from paretolens.data.generated.encode import write_clip

    pictures = np.zeros((4, 32, 96, 3), np.uint8)
    pictures[:, :, 32:64] = 240
    write_clip(tmp_path / "wide.mp4", pictures, 8.0, None, 16_000, crf=5, bit_rate=32_000)
    (middle,) = read(tmp_path / "wide.mp4", take=Take.PICTURES, per_video=1)
    assert middle.arrays["input_image"].mean() > 225
    (whole,) = read(tmp_path / "wide.mp4", take=Take.PICTURES, per_video=1, fit=Fit.STRETCH)
    assert whole.arrays["input_image"][:, :, :8].mean() < 15
    assert whole.arrays["input_image"][:, :, 12:20].mean() > 225


def test_a_mask_marks_the_cells_of_its_white_part(tmp_path: Path, encode) -> None:
    from paretolens.data.generated.encode import write_clip

    encode(tmp_path / "fake.mp4", frames=8, sound=False)
    white = np.zeros((8, 32, 32, 3), np.uint8)
    white[:4, 8:16, 16:32] = 255  # in the first half second
    write_clip(tmp_path / "mask.mp4", white, 8.0, None, 16_000, crf=5, bit_rate=32_000)
    item = Item(file="fake.mp4", fake=True, kind="swap", fake_picture=True, mask="mask.mp4")
    (sample,) = samples_of(item, Decoder(root=tmp_path, settings=FolderSettings(path=tmp_path, size=32)))
    expected = np.zeros((8, 16, 16), bool)
    expected[:4, 4:8, 8:16] = True
    np.testing.assert_array_equal(sample.arrays["regions"], expected)


def test_a_folder_of_odd_files_is_read_to_its_end(tmp_path: Path, encode) -> None:
    root = tmp_path / "набор 映像"
    for number in range(12):
        encode(root / "real" / f"настоящий {number}.mp4", frames=4)
        encode(root / "fake" / f"偽物 {number}.mp4", frames=4, sound=number % 2 == 0)
    (root / "fake" / "偽物 3.mp4").write_bytes(b"\0" * 500)
    settings = FolderSettings(path=root, size=32, frames=4, val_share=0.25, test_share=0.25)
    sets = FolderSource().prepare(settings, tmp_path / "cache", workers=1)
    assert sum(len(samples) for samples in sets.values()) == 23
    assert any("映像" not in name and "偽物" in name for samples in sets.values() for name in samples.ids)
