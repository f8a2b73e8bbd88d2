import multiprocessing
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from paretolens.errors import IntegrityError
from paretolens.evaluators.eps import EpsSettings, ExplainedSet, TeacherReference, score_eps
from paretolens.evaluators.eps import reference as reference_module

Make = Callable[[int], nn.Module]


def test_saved_reference_scores_the_same(tiny_detector: Make, tiny_reference: TeacherReference, tmp_path: Path) -> None:
    tiny_reference.save(tmp_path / "reference")
    loaded = TeacherReference.load(tmp_path / "reference")
    assert loaded.settings == tiny_reference.settings
    assert loaded.explained.signature == tiny_reference.explained.signature
    assert loaded.modalities == ("video", "audio")
    a, b = score_eps(tiny_detector(2), tiny_reference), score_eps(tiny_detector(2), loaded)
    np.testing.assert_array_equal(a.samples.eps, b.samples.eps)
    assert a.metrics() == b.metrics()


def test_maps_are_made_in_place_block_by_block(
    tiny_detector: Make, tiny_explained: ExplainedSet, tiny_settings: EpsSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    explain = reference_module.explain_block

    def counted(*given: object, **named: object) -> object:
        block = explain(*given, **named)  # type: ignore[arg-type]  # as it was called
        made.append(len(alive))
        alive.add(block)
        return block

    alive: weakref.WeakSet[object] = weakref.WeakSet()
    monkeypatch.setattr(reference_module, "explain_block", counted)
    monkeypatch.setattr(reference_module, "BLOCK", 4)
    small = TeacherReference.compute(tiny_detector(0), tiny_explained, tiny_settings)
    assert len(made) == 6
    assert max(made) <= 1, "a block is let go once it is written"
    monkeypatch.setattr(reference_module, "BLOCK", 24)
    whole = TeacherReference.compute(tiny_detector(0), tiny_explained, tiny_settings)
    for name, maps in whole.grids.items():
        torch.testing.assert_close(small.grids[name].values, maps.values)
        assert small.grids[name].shape == maps.shape
    torch.testing.assert_close(small.logit, whole.logit)


def test_nothing_is_pickled(tiny_reference: TeacherReference, tmp_path: Path) -> None:
    tiny_reference.save(tmp_path / "reference")
    assert {path.suffix for path in (tmp_path / "reference").iterdir()} == {".npy", ".json"}
    for path in (tmp_path / "reference").glob("*.npy"):
        np.load(path, allow_pickle=False)


@pytest.mark.parametrize("name", ["grid_video_ranks.npy", "reference.json"])
def test_damage_is_found(tiny_reference: TeacherReference, tmp_path: Path, name: str) -> None:
    tiny_reference.save(tmp_path / "reference")
    path = tmp_path / "reference" / name
    content = bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="damaged or missing"):
        TeacherReference.load(tmp_path / "reference")


def test_missing_file_and_folder(tiny_reference: TeacherReference, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="nowhere and make it again"):
        TeacherReference.load(tmp_path / "nowhere")
    tiny_reference.save(tmp_path / "reference")
    (tmp_path / "reference" / "sums.npy").unlink()
    with pytest.raises(IntegrityError):
        TeacherReference.load(tmp_path / "reference", verify=False)


def test_cache_is_keyed_by_what_the_maps_depend_on(
    tiny_detector: Make, tiny_explained: ExplainedSet, tiny_settings: EpsSettings, tmp_path: Path
) -> None:
    def folders() -> int:
        return sum(path.is_dir() for path in tmp_path.iterdir())

    TeacherReference.load_or_compute(tmp_path, tiny_detector(0), tiny_explained, tiny_settings)
    TeacherReference.load_or_compute(tmp_path, tiny_detector(0), tiny_explained, tiny_settings)
    assert folders() == 1
    TeacherReference.load_or_compute(tmp_path, tiny_detector(1), tiny_explained, tiny_settings)
    assert folders() == 2
    TeacherReference.load_or_compute(
        tmp_path, tiny_detector(0), tiny_explained, EpsSettings(**tiny_settings.record() | {"nodes": 6})
    )
    assert folders() == 3


def ask(
    cache: str, make: Make, explained: ExplainedSet, settings: EpsSettings, queue: "multiprocessing.Queue[tuple[float, int]]"
) -> None:
    torch.set_num_threads(1)
    calls = 0
    compute = TeacherReference.compute

    def counted(*arguments: object) -> TeacherReference:
        nonlocal calls
        calls += 1
        return compute(*arguments)  # type: ignore[arg-type]

    TeacherReference.compute = counted  # type: ignore[method-assign, assignment]
    reference = TeacherReference.load_or_compute(Path(cache), make(0), explained, settings)
    queue.put((float(reference.sums.sum()), calls))


def test_processes_that_come_at_once_compute_it_once(
    tiny_detector: Make, tiny_explained: ExplainedSet, tiny_settings: EpsSettings, tmp_path: Path
) -> None:
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    arguments = (str(tmp_path), tiny_detector, tiny_explained, tiny_settings, queue)
    torch.set_num_threads(1)
    workers = [context.Process(target=ask, args=arguments) for _ in range(3)]
    for worker in workers:
        worker.start()
    answers = [queue.get(timeout=240) for _ in workers]
    for worker in workers:
        worker.join(240)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert len({total for total, _ in answers}) == 1
    assert sum(calls for _, calls in answers) == 1
