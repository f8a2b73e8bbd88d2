"""How fast recorded videos become samples, against plain decoding, and how much memory that takes.

Videos are encoded here (H.264 and AAC, 25 frames a second, several sizes), then read in four ways, in turns within one run, with
the same window of each file:

- decoder's limit: the same number of processes run a plain PyAV loop over picture and sound of the window and keep nothing;
- ours: the data source `folder`, from files to memory-mapped sample sets, lists, checks and all;
- single thread: one process turns every frame into RGB, then resizes the frames it needs, as torchvision's `read_video` had it;
- second epoch: batches of the memory-mapped set, as a model takes them, against decoding the same samples again.

Ours is measured at N and 4 N videos: the difference is what 3 N videos take, and what N take beyond a third of that is the start
of the processes, shown apart. Peak memory is that of all processes together (proportional share of pages, mapped files included).

With --cpu everything runs in this process and CPU seconds are counted, which other work on the machine changes little; --memory
measures memory alone. The limit decodes every picture of the window, ours none after the last one that it keeps: --cpu also
shows a plain loop that ends there, too.

    python benchmarks/data_speed.py [--videos 32] [--workers 2] [--rounds 3] [--cpu | --memory]

Prints Markdown, with the goals and whether they hold; exit code 1 where one does not.
"""

import argparse
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from paretolens.data.folder import FolderSource
from paretolens.data.generated.encode import write_clip
from paretolens.data.pipeline.settings import FolderSettings
from paretolens.data.samples import SampleSet

LIMIT_SHARE, SECOND_EPOCH, MEMORY_GROWTH = 0.9, 20.0, 1.25
SECONDS, FPS, RATE = 4, 25, 16_000
SIZES = ((360, 640), (480, 640), (480, 854))
"""Height and width of the videos."""
EPOCHS = 3
"""Times that the mapped set is read; the median counts."""
PARTS = 8
"""Slices of the work that each process gets in turn."""


def encode_videos(root: Path, count: int) -> None:
    """Real and fake videos of moving noise and edges, a third of each size."""
    rng = np.random.default_rng(0)
    time_axis = np.arange(SECONDS * RATE) / RATE
    made: dict[tuple[int, int], Path] = {}
    for number in range(count):
        size = SIZES[number % len(SIZES)]
        path = root / ("fake" if number % 2 else "real") / f"{number:04d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        if size not in made:
            wave = (0.3 * np.sin(2 * np.pi * (200 + 40 * number) * time_axis)).astype(np.float32)
            write_clip(path, _pictures(size, rng), FPS, wave, RATE, crf=23, bit_rate=64_000)
            made[size] = path
        else:  # the same stream under another length: a trailing free box keeps files apart
            content = made[size].read_bytes()
            path.write_bytes(content + (8 + number).to_bytes(4, "big") + b"free" + bytes(number))


def _pictures(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    height, width = size
    rows, columns = np.mgrid[:height, :width]
    noise = rng.normal(0, 6, (height, width))
    frames = np.empty((SECONDS * FPS, height, width, 3), np.uint8)
    for index in range(len(frames)):
        wave = 120 + 60 * np.sin((columns + 5 * index) / 31) + 40 * np.cos((rows - 3 * index) / 23)
        frames[index] = np.clip(wave + np.roll(noise, 2 * index, axis=1), 0, 255)[..., None]
    return frames


def only_decode(paths: Sequence[Path], seconds: float, pictures: float | None = None) -> int:
    """A plain PyAV loop over the window of some files, of pictures those of its first seconds alone; frames seen."""
    import av

    seen = 0
    for path in paths:
        with av.open(str(path)) as container:
            streams: list[Any] = [container.streams.video[0], *container.streams.audio[:1]]
            streams[0].thread_type = "NONE"
            heard = shown = 0.0
            last = seconds if pictures is None else pictures
            for packet in container.demux(*streams):
                if packet.stream is streams[0] and shown >= last:
                    continue
                for frame in packet.decode():
                    if isinstance(frame, av.VideoFrame):
                        shown, seen = float(frame.time or 0.0), seen + 1
                    else:
                        heard = float(frame.time or 0.0)
                if shown >= last and heard >= seconds - 0.1:
                    break
    return seen


def all_in_rgb(paths: Sequence[Path], seconds: float, frames: int, size: int) -> int:
    """Every frame of the window as RGB in one process, then those that are needed resized."""
    import av
    from PIL import Image

    kept = 0
    for path in paths:
        with av.open(str(path)) as container:
            pictures = []
            for frame in container.decode(video=0):
                if float(frame.time or 0.0) >= seconds:
                    break
                pictures.append(frame.to_ndarray(format="rgb24"))
        with av.open(str(path)) as container:
            sound = [frame.to_ndarray() for frame in container.decode(audio=0) if float(frame.time or 0.0) < seconds]
        np.concatenate(sound, axis=1)
        stack = np.stack(pictures)
        for index in np.linspace(0, len(stack) - 1, frames).astype(int):
            Image.fromarray(stack[index]).resize((size, size), Image.Resampling.BICUBIC)
            kept += 1
    return kept


def in_processes(work: Callable[[Sequence[Path]], int], paths: Sequence[Path], pool: ProcessPoolExecutor, workers: int) -> float:
    """Seconds that some processes, already running, need for all files."""
    parts = [paths[start :: workers * PARTS] for start in range(workers * PARTS)]
    began = time.perf_counter()
    list(pool.map(work, parts))
    return time.perf_counter() - began


def prepare(folder: Path, workers: int) -> tuple[float, dict[str, SampleSet]]:
    """Seconds from nothing to the sets of a folder, and the sets, whose files stay mapped although the cache is gone."""
    with tempfile.TemporaryDirectory() as cache:
        began = time.perf_counter()
        sets = FolderSource().prepare(settings_of(folder), Path(cache), workers=workers)
        return time.perf_counter() - began, sets


def settings_of(folder: Path) -> FolderSettings:
    """Eight frames of 128 × 128 and the sound of all 4 s."""
    return FolderSettings(path=folder, frames=8, fps=8 / SECONDS, size=128)


class Memory:
    """Most memory of this process and its children, in MB, while a block runs."""

    def __enter__(self) -> "Memory":
        self.peak, self.stop = 0.0, threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        self.thread.join()

    def _watch(self) -> None:
        own = psutil.Process()
        while not self.stop.wait(0.2):
            total = 0
            for process in (own, *own.children(recursive=True)):
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.peak = max(self.peak, total / 1e6)


def main() -> int:
    """Run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=32, help="N")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--rounds", type=int, default=3, help="times that each way is measured; the median counts")
    parser.add_argument("--cpu", action="store_true", help="CPU seconds of this process alone")
    parser.add_argument("--memory", action="store_true", help="peak memory alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        part = _measure_cpu if options.cpu else _measure_memory if options.memory else _measure
        return part(Path(place), options)


def _measure(place: Path, options: argparse.Namespace) -> int:
    count, workers = options.videos, options.workers
    encode_videos(place / "small", count)
    link_videos(place / "small", place / "large", 4 * count)
    paths = sorted((place / "large").rglob("*.mp4"))[: 3 * count]
    settings = settings_of(place)
    decode = partial(only_decode, seconds=settings.seconds)
    rounds: list[tuple[float, float, float]] = []
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        in_processes(decode, paths[: 2 * workers * PARTS], pool, workers)  # warm
        for _ in range(options.rounds):
            limit = in_processes(decode, paths, pool, workers)
            small, _ = prepare(place / "small", workers)
            large, sets = prepare(place / "large", workers)
            rounds.append((limit, small, large))
    few = paths[: count // 4]
    began = time.perf_counter()
    all_in_rgb(few, settings.seconds, settings.frames, settings.pixels)
    single = (time.perf_counter() - began) / len(few)
    again = second_epoch(sets) / (4 * count)
    return _report(rounds, single, again, [peak_memory(place / name, workers) for name in ("small", "large")], options)


def _measure_cpu(place: Path, options: argparse.Namespace) -> int:
    encode_videos(place / "small", options.videos)
    paths, settings = sorted((place / "small").rglob("*.mp4")), settings_of(place)
    sets: dict[str, SampleSet] = {}
    last = (settings.frames - 1) / settings.fps
    ways: dict[str, Callable[[], object]] = {
        "decoder's limit: a plain PyAV loop": lambda: only_decode(paths, settings.seconds),
        "a plain loop that ends with the last picture kept": lambda: only_decode(paths, settings.seconds, last),
        "ours: files → sample sets": lambda: sets.update(prepare(place / "small", 1)[1]),
        "all in RGB, then resized": lambda: all_in_rgb(paths, settings.seconds, settings.frames, settings.pixels),
        "second epoch: batches of the mapped set": lambda: second_epoch(sets),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(options.rounds + 1):
        for name, work in ways.items():
            began = time.process_time()
            work()
            times[name].append(time.process_time() - began)
    each = {name: statistics.median(found[1:]) / len(paths) for name, found in times.items()}  # the first round warms up
    limit, short, ours, plain, again = each.values()
    again /= EPOCHS
    print(f"{len(paths)} videos, CPU time of one process on one thread, median of {options.rounds} rounds.\n")
    print("| way | CPU ms a video | against the decoder's limit |\n|---|---|---|")
    for name, seconds in zip(each, (limit, short, ours, plain, again), strict=True):
        print(f"| {name} | {seconds * 1e3:.1f} | {limit / seconds:.2f}× |")
    print()
    return judge(speed_goals(limit, ours, again))


def _measure_memory(place: Path, options: argparse.Namespace) -> int:
    count = options.videos
    encode_videos(place / "small", count)
    link_videos(place / "small", place / "large", 4 * count)
    small, large = (peak_memory(place / name, options.workers) for name in ("small", "large"))
    print(f"Peak memory of {options.workers} processes and the one that drives them: {small:.0f} MB at {count} videos,")
    print(f"{large:.0f} MB at {4 * count}.\n")
    return judge(memory_goal(small, large))


def link_videos(source: Path, target: Path, count: int) -> None:
    """A folder of `count` videos that takes no room: links to those of another."""
    videos = sorted(source.rglob("*.mp4"))
    for number in range(count):
        video = videos[number % len(videos)]
        link = target / video.parent.name / f"{number:05d}.mp4"
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(video, link)


def second_epoch(sets: dict[str, SampleSet]) -> float:
    """Seconds for all samples once, as a model takes them."""
    found = []
    for _ in range(EPOCHS):
        began = time.perf_counter()
        for samples in sets.values():
            for start in range(0, len(samples), 16):
                samples.batch(slice(start, start + 16))
        found.append(time.perf_counter() - began)
    return statistics.median(found)


def peak_memory(folder: Path, workers: int) -> float:
    """Peak MB while a folder is prepared."""
    with Memory() as memory:
        prepare(folder, workers)
    return memory.peak


def _report(
    rounds: list[tuple[float, float, float]], single: float, again: float, memory: list[float], options: argparse.Namespace
) -> int:
    n = options.videos
    limit = statistics.median(limit for limit, _, _ in rounds) / (3 * n)
    ours = statistics.median(large - small for _, small, large in rounds) / (3 * n)
    start = statistics.median(small for _, small, _ in rounds) - n * ours
    sizes = ", ".join(f"{width}×{height}" for height, width in SIZES)
    print(f"N = {n} videos of {SECONDS} s ({sizes}; {FPS} frames a second, with sound) → 8 frames of 128×128 and their sound;")
    print(f"{options.workers} processes, median of {options.rounds} rounds.\n")
    print("| way | ms a video | videos/s | against the decoder's limit |\n|---|---|---|---|")
    rows = {"decoder's limit: plain PyAV loops": limit, "ours: files → sample sets": ours, "single thread, all in RGB": single}
    for name, seconds in (rows | {"second epoch: batches of the mapped set": again}).items():
        print(f"| {name} | {seconds * 1e3:.2f} | {1 / seconds:.0f} | {limit / seconds:.2f}× |")
    print(f"\nStart of the processes and of the lists: {start:.1f} s, once.")
    print(f"Peak memory of all processes: {memory[0]:.0f} MB at N, {memory[1]:.0f} MB at 4 N.\n")
    return judge(speed_goals(limit, ours, again) | memory_goal(*memory))


def speed_goals(limit: float, ours: float, again: float) -> dict[str, bool]:
    """What seconds a video must keep to, and whether they do."""
    return {
        f"{limit / ours:.1%} of the decoder's limit (goal: at least {LIMIT_SHARE:.0%})": limit / ours >= LIMIT_SHARE,
        f"second epoch {ours / again:.0f}× as fast (goal: at least {SECOND_EPOCH:g}×)": ours / again >= SECOND_EPOCH,
    }


def memory_goal(small: float, large: float) -> dict[str, bool]:
    """The same of peak memory at N and 4 N videos."""
    text = f"peak memory at four times the videos {large / small:.2f}× (goal: at most {MEMORY_GROWTH:g}×)"
    return {text: large <= MEMORY_GROWTH * small}


def judge(goals: dict[str, bool]) -> int:
    """Print one line per goal; the exit code."""
    for text, holds in goals.items():
        print(f"- {'holds' if holds else 'DOES NOT HOLD'}: {text}")
    return 0 if all(goals.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
