"""A function per layout that writes its folders and lists, with all oddities that the published ones have."""

import csv
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_layouts.material import Material

__all__ = ["LAYOUTS", "Layout"]

Write = Callable[[Path, Material, int], None]
"""Writes a data set into an empty folder; the number is how many recordings each split has at least, 4 or more."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One data set."""

    reader: str
    """The layout as `data.layout` names it."""
    write: Write
    """Makes it."""
    settings: tuple[str, ...] = ()
    """What a configuration must say beyond the path."""


def _lavdf(root: Path, material: Material, size: int) -> None:
    entries: list[dict[str, Any]] = []
    for split in ("train", "dev", "test"):
        for number in range(size):
            original = f"{split}/{2 * number:06d}.mp4"
            kinds = ((False, False), ((True, False), (False, True), (True, True))[number % 3])
            for offset, (seen, heard) in enumerate(kinds):
                name = f"{split}/{2 * number + offset:06d}.mp4"
                material.video(root / name, len(entries), seen=seen, heard=heard)
                entries.append(_lavdf_entry(name, original, split, material, seen=seen, heard=heard))
    (root / "metadata.json").write_text(json.dumps(entries), encoding="utf-8")


def _lavdf_entry(name: str, original: str, split: str, material: Material, *, seen: bool, heard: bool) -> dict[str, Any]:
    fake = seen or heard
    return {
        "file": name, "n_fakes": int(fake), "fake_periods": [list(material.period)] if fake else [],
        "duration": material.seconds, "original": original if fake else None, "modify_video": seen, "modify_audio": heard,
        "split": split, "video_frames": round(material.seconds * material.fps), "audio_channels": 1,
        "audio_frames": round(material.seconds * 16_000),
    }  # fmt: skip


def _dfdc(root: Path, material: Material, size: int) -> None:
    for part in range(2):
        folder, entries = root / f"dfdc_train_part_{part}", dict[str, dict[str, str]]()
        for number in range(size):
            real, fake = (f"{letter}{part}{number:08d}.mp4" for letter in "rf")
            material.video(folder / real, 10 * number + part)
            material.video(folder / fake, 10 * number + part, seen=True)
            entries[fake] = {"label": "FAKE", "split": "train", "original": real}
            entries[real] = {"label": "REAL", "split": "train"}
        (folder / "metadata.json").write_text(json.dumps(entries), encoding="utf-8")
    rows = [(f"t{number:09d}.mp4", number % 2) for number in range(size)]
    for number, (name, label) in enumerate(rows):
        material.video(root / "test" / name, 1000 + number, seen=bool(label))
    _table(root / "test" / "labels.csv", ("filename", "label"), rows)


def _pairs(size: int) -> dict[str, list[list[str]]]:
    """Split → pairs of originals that change faces, as FaceForensics++ lists them."""
    numbers = [f"{number:03d}" for number in range(2 * 3 * (size // 2))]
    pairs = [numbers[place : place + 2] for place in range(0, len(numbers), 2)]
    return {split: pairs[place::3] for place, split in enumerate(("train", "val", "test"))}


def _faceforensics(root: Path, material: Material, size: int) -> None:
    for split, pairs in _pairs(size).items():
        (root / f"{split}.json").write_text(json.dumps(pairs), encoding="utf-8")
        for first, second in pairs:
            for target, source in ((first, second), (second, first)):
                material.video(root / f"original_sequences/youtube/c23/videos/{target}.mp4", int(target))
                for method in ("Deepfakes", "NeuralTextures"):
                    name = f"{target}_{source}.mp4"
                    place = root / "manipulated_sequences" / method
                    material.video(place / "c23" / "videos" / name, int(target), seen=True)
                    material.mask(place / "masks" / "videos" / name)


def _celebdf(root: Path, material: Material, size: int) -> None:
    tested = []
    for number in range(3 * size):
        who, donor, video = f"id{number}", f"id{100 + number}", f"{number:04d}"
        real, fake = f"Celeb-real/{who}_{video}.mp4", f"Celeb-synthesis/{who}_{donor}_{video}.mp4"
        tube = f"YouTube-real/{number:05d}.mp4"
        material.video(root / real, number)
        material.video(root / fake, number, seen=True)
        material.video(root / tube, 1000 + number)
        tested += [f"1 {real}", f"0 {fake}", f"1 {tube}"] * (number >= 2 * size)
    (root / "List_of_testing_videos.txt").write_text("\n".join(tested) + "\n", encoding="utf-8")


def _fakeavceleb(root: Path, material: Material, size: int) -> None:
    rows: list[tuple[str, ...]] = []
    kinds = (
        ("RealVideo-RealAudio", "real", "A"), ("FakeVideo-RealAudio", "faceswap", "C"),
        ("RealVideo-FakeAudio", "rtvc", "B"), ("FakeVideo-FakeAudio", "wav2lip", "D"),
    )  # fmt: skip
    for number in range(3 * size):
        who, race = f"id{number:05d}", ("African", "Asian (East)")[number % 2]
        for name, method, category in kinds:
            place, file = f"{name}/{race}/women/{who}", f"{number:05d}_{method}.mp4"
            seen, heard = name.startswith("Fake"), name.endswith("FakeAudio")
            material.video(root / place / file, number, seen=seen, heard=heard)
            rows.append((who, "-", "-", method, category, name, race, "women", file, f"FakeAVCeleb/{place}"))
    head = ("source", "target1", "target2", "method", "category", "type", "race", "gender", "path", "")
    _table(root / "meta_data.csv", head, rows)


def _wildrf(root: Path, material: Material, size: int) -> None:
    endings = (".jpg", ".webp", ".jfif", ".png")
    places = ("train", "val", "test/reddit", "test/twitter", "test/facebook")
    for step, place in enumerate(places):
        for number in range(2 * size):
            for name, fake in (("0_real", False), ("1_fake", True)):
                path = root / place / name / f"{number:04d}{endings[(number + fake) % 4]}"
                material.picture(path, 1000 * step + 2 * number + fake, fake=fake)


def _forensynths(root: Path, material: Material, size: int) -> None:
    for step, place in enumerate(("train/cat", "val/cat", "test/progan/cat", "test/deepfake")):
        for number in range(2 * size):
            for name, fake in (("0_real", False), ("1_fake", True)):
                material.picture(root / place / name / f"{number:05d}.png", 1000 * step + 2 * number + fake, fake=fake)


def _deepfakebench(root: Path, material: Material, size: int) -> None:
    """With the paths of another machine, as the published lists have them."""
    listed: dict[str, dict[str, Any]] = {"FF-real": {}, "FF-DF": {}}
    for split, pairs in _pairs(size).items():
        for splits in listed.values():
            splits[split] = {"c23": {}}
        for first, second in pairs:
            for target, source in ((first, second), (second, first)):
                for label, place, name in (
                    ("FF-real", "original_sequences/youtube/c23/frames", target),
                    ("FF-DF", "manipulated_sequences/Deepfakes/c23/frames", f"{target}_{source}"),
                ):
                    frames = [f"FaceForensics++/{place}/{name}/{frame:03d}.png" for frame in range(2)]
                    for frame, file in enumerate(frames):
                        material.picture(root / "rgb" / file, 10 * int(target) + frame, fake=label == "FF-DF")
                    theirs = [f"/home/zhiyuan/{file}" for file in frames]
                    listed[label][split]["c23"][name] = {"label": label, "frames": theirs}
    path = root / "dataset_json" / "FaceForensics++.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"FaceForensics++": listed}), encoding="utf-8")


def _classfolders(root: Path, material: Material, size: int) -> None:
    for step, split in enumerate(("train", "val", "test")):
        for number in range(2 * size):
            for name, fake in (("real", False), ("fake/gan", True)):
                ending = (".png", ".webp", ".jpg")[number % 3]
                path = root / split / name / f"снимок {number}{ending}"
                material.picture(path, 1000 * step + 2 * number + fake, fake=fake)


def _manifest(root: Path, material: Material, size: int) -> None:
    rows = []
    for step, split in enumerate(("train", "val", "test")):
        for number in range(2 * size):
            for fake in (False, True):
                name, dataset = f"frames/{split}_{number:03d}_{int(fake)}.png", ("celeb_df", "ffpp", "dfdc")[number % 3]
                material.picture(root / name, 1000 * step + 2 * number + fake, fake=fake)
                rows.append((name, int(fake), dataset, split))
    _table(root / "manifest.csv", ("image_path", "label", "dataset", "split"), rows)


def _table(path: Path, head: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([tuple(head), *rows])


LAYOUTS: dict[str, Layout] = {
    "LAV-DF": Layout(reader="lavdf", write=_lavdf),
    "DFDC": Layout(reader="dfdc", write=_dfdc, settings=("data.val_share=0.4",)),
    "FaceForensics++": Layout(reader="faceforensics", write=_faceforensics),
    "Celeb-DF-v2": Layout(reader="celebdf", write=_celebdf, settings=("data.val_share=0.4",)),
    "FakeAVCeleb": Layout(reader="fakeavceleb", write=_fakeavceleb, settings=("data.val_share=0.3", "data.test_share=0.3")),
    "WildRF": Layout(reader="wildrf", write=_wildrf),
    "ForenSynths": Layout(reader="wildrf", write=_forensynths),
    "DeepfakeBench": Layout(reader="deepfakebench", write=_deepfakebench),
    "class folders": Layout(reader="classfolders", write=_classfolders),
    "manifest": Layout(reader="manifest", write=_manifest),
}
"""Name of the data set → what it is like on disk."""
