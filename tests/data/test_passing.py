"""Pictures that nobody looks at are passed over, and the others stay as they are."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from paretolens.data.passing import Passing

COUNT, FPS = 40, 10


@pytest.fixture(scope="module", params=["bframes=3:b-adapt=0:scenecut=0", "bframes=8:b-pyramid=strict:keyint=12", "bframes=0"])
def film(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "film.mp4"
    pictures = np.random.default_rng(0).integers(0, 60, (COUNT, 48, 48, 3)).astype(np.uint8)
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream("libx264", rate=FPS, options={"x264-params": request.param, "crf": "30"})
        video.width = video.height = 48
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture + np.uint8(4 * index), format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def read(path: Path, wanted: set[int]) -> tuple[dict[int, np.ndarray], bool]:
    """Pictures by their number, and whether one was missed."""
    with av.open(str(path)) as container:
        stream: Any = container.streams.video[0]
        stream.thread_type = "NONE"

        def looked_at(shown: float, until: float) -> bool:
            return any(shown <= number / FPS + 1e-6 < until for number in wanted)

        passing = Passing(stream, looked_at)
        found = {}
        for packet in container.demux(stream):
            for frame in passing.decode(packet):
                found[round(float(frame.time or 0.0) * FPS)] = frame.to_ndarray(format="rgb24")
        passing.close()
        assert str(stream.codec_context.skip_frame) == "DEFAULT"
        return found, passing.missed


def test_what_is_wanted_is_there_and_the_same(film: Path) -> None:
    everything, _ = read(film, set(range(COUNT)))
    assert sorted(everything) == list(range(COUNT))
    rng = np.random.default_rng(1)
    for count in (1, 2, 5, 20):
        wanted = set(rng.choice(COUNT, count, replace=False).tolist())
        found, missed = read(film, wanted)
        assert wanted <= found.keys()
        assert not missed
        assert list(found) == sorted(found)
        for number, picture in found.items():
            np.testing.assert_array_equal(picture, everything[number])


def test_pictures_that_nobody_refers_to_are_passed_over(film: Path) -> None:
    with av.open(str(film)) as container:
        kinds = [frame.pict_type for frame in container.decode(video=0)]
    alone = sum(kind == av.video.frame.PictureType.B for kind in kinds)
    found, _ = read(film, {0})
    assert len(found) <= COUNT - alone // 2 if alone else len(found) == COUNT


def test_a_wanted_picture_that_the_decoder_loses_is_told() -> None:
    def packet(moment: int, *shown: int) -> SimpleNamespace:
        def decode() -> Iterator[SimpleNamespace]:
            return (SimpleNamespace(pts=number) for number in shown)

        return SimpleNamespace(pts=moment, dts=moment, size=1, time_base=Fraction(1), decode=decode)

    stream = SimpleNamespace(codec_context=SimpleNamespace(name="h264", skip_frame="DEFAULT"))
    for lost in (False, True):
        passing = Passing(stream, lambda shown, until: shown == 1.0)
        packets = [packet(0, 0), packet(1) if lost else packet(1, 1), packet(2, 2), packet(3, 3)]
        seen = [frame.pts for one in packets for frame in passing.decode(one)]
        assert seen[0] == 0
        assert passing.missed is lost


@pytest.mark.parametrize("lost", [False, True])
def test_a_wanted_picture_that_is_lost_at_the_end_is_told(lost: bool) -> None:
    kept: list[int] = []  # the decoder gives its pictures when it is emptied

    def packet(moment: int | None) -> SimpleNamespace:
        def decode() -> Iterator[SimpleNamespace]:
            if moment is not None:
                kept.extend([] if lost and moment == 2 else [moment])
                return iter(())
            return (SimpleNamespace(pts=number) for number in kept)

        return SimpleNamespace(pts=moment, dts=moment, size=int(moment is not None), time_base=Fraction(1), decode=decode)

    stream = SimpleNamespace(codec_context=SimpleNamespace(name="h264", skip_frame="DEFAULT"))
    passing = Passing(stream, lambda shown, until: shown == 2.0)
    seen = [frame.pts for moment in (0, 1, 2, None) for frame in passing.decode(packet(moment))]
    assert seen == [0, 1, *([] if lost else [2])]
    assert passing.missed is lost
