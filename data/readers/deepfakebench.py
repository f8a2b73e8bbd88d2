"""DeepfakeBench: extracted frames, listed in one JSON file per data set.

    {dataset: {label: {train | val | test: {[c23:] {video: {"label": …, "frames": […], "masks": […]}}}}}}

The compression stands in FaceForensics++ only. Two faults of the published lists are mended: videos that are also in test are
taken out of train and val (Celeb-DF's val is its test, and its train holds test videos), and paths of the publisher's machine
are found again below the folder.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from paretolens.data.readers.celebdf import names_in
from paretolens.data.readers.listing import REAL, Item, Listing, Reader, tidy
from paretolens.data.readers.tables import read_json_list, unreadable
from paretolens.errors import DataError

__all__ = ["READER"]

WANT = "a DeepfakeBench list {dataset: {label: {split: {video: {label, frames}}}}}"
TREE = """\
anything/
  dataset_json/FaceForensics++.json …     (or the .json files in the folder itself)
  rgb/FaceForensics++/manipulated_sequences/Deepfakes/c23/frames/000_003/000.png …
  (frames are looked for below the folder, its rgb/ and datasets/rgb/, and beside it)"""
SPLITS = ("train", "val", "test")


def detect(folder: Path) -> float:
    """Whether a list is there."""
    return 0.9 if any(_is_ours(path) for path in _lists(folder)) else 0.0


def read(folder: Path) -> Listing:
    """Items of every list, one per frame; of several lists, those whose frames are not there are left out with a note."""
    home = folder if folder.is_dir() else folder.parent
    lists = {path: items for path in _lists(folder) if _is_ours(path) and (items := list(_entries(path)))}
    if not lists:
        return Listing(root=home, layout="deepfakebench", items=())
    places = {path: place for path, items in lists.items() if (place := _locate(home, items)) is not None}
    if not places:
        first = next(iter(lists.values()))[0].file
        raise DataError(
            f"frames of a DeepfakeBench list must lie below {', '.join(map(str, _bases(home)[:3]))} or beside it, "
            f"{first} does not: unpack them there"
        )
    root = _root(home, [base for base, _ in places.values()])
    items, notes = list[Item](), list[str]()
    for path, found in lists.items():
        if path not in places:
            notes.append(f"{path.name}: none of its frames was found, the list is left out")
            continue
        kept = _without_tested(found)
        if len(kept) < len(found):
            notes.append(f"{path.name}: {len(found) - len(kept)} frames of train and val left out, their videos are in test")
        base, strip = places[path]
        items += [_moved(item, base.relative_to(root), strip) for item in kept]
    return Listing(root=root, layout="deepfakebench", items=tuple(items), notes=tuple(notes))


def _lists(folder: Path) -> Iterator[Path]:
    if folder.is_file():
        yield folder
        return
    for place in (folder, folder / "dataset_json", folder / "preprocessing" / "dataset_json"):
        yield from sorted(place.glob("*.json"))


def _is_ours(path: Path) -> bool:
    if path.suffix != ".json":
        return False
    with path.open("rb") as stream:
        head = stream.read(1 << 16)
    return head.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] == b"{" and b'"frames"' in head and b'"label"' in head


def _entries(path: Path) -> Iterator[Item]:
    content = read_json_list(path, want=WANT)
    try:
        for dataset, labels in content.items():
            for label, splits in labels.items():
                for split in SPLITS:
                    for variant, name, video in _videos(splits.get(split, {})):
                        yield from _frames(video, dataset=dataset, label=label, split=split, variant=variant, name=name)
    except (AttributeError, KeyError, TypeError) as error:
        raise unreadable(path, f"something else is in it ({error})", want=WANT) from error


def _videos(level: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(compression, name, video), with or without the level of compressions."""
    for name, inner in level.items():
        if "frames" in inner:
            yield "", name, inner
        else:
            yield from ((name, video, content) for video, content in inner.items())


def _frames(video: Mapping[str, Any], *, dataset: str, label: str, split: str, variant: str, name: str) -> Iterator[Item]:
    fake = not str(video.get("label", label)).lower().endswith("real")
    frames, masks = [tidy(frame) for frame in video["frames"]], [tidy(mask) for mask in video.get("masks") or ()]
    by_name = {PurePosixPath(mask).name: mask for mask in masks}
    recordings, person, donors = _origin(dataset, name)
    for frame in frames:
        yield Item(
            file=frame,
            fake=fake,
            kind=label if fake else REAL,
            split=split,
            originals=tuple(f"{dataset}/{recording}" for recording in recordings),
            identity=f"{dataset}/{person}" if person else None,
            donors=tuple(f"{dataset}/{donor}" for donor in donors),
            video=f"{dataset}/{label}/{name}",
            variant=variant,
            fake_picture=fake,
            mask=by_name.get(PurePosixPath(frame).name) if fake else None,
        )


def _origin(dataset: str, name: str) -> tuple[tuple[str, ...], str | None, tuple[str, ...]]:
    """Recordings, person and donors of a video, as the data set names them."""
    numbers = tuple(name.split("_"))
    if dataset.startswith("FaceForensics") and all(number.isdigit() for number in numbers):
        return numbers, numbers[0], numbers[1:]
    if dataset.startswith("Celeb-DF"):
        recording, person, donors = names_in(name)
        return (recording,), person, donors
    return (name,), None, ()


def _without_tested(items: list[Item]) -> list[Item]:
    tested = {(item.video, item.variant) for item in items if item.split == "test"}
    return [item for item in items if item.split == "test" or (item.video, item.variant) not in tested]


def _bases(folder: Path) -> list[Path]:
    """Where frames are looked for."""
    return [folder, folder / "rgb", folder / "datasets" / "rgb", folder / "datasets", folder.parent, folder.parent / "rgb"]


def _locate(folder: Path, items: list[Item]) -> tuple[Path, int] | None:
    """Where frames lie, and how many leading folders of the listed paths to leave out; not every compression need be there."""
    bases = _bases(folder)
    for item in {(item.kind, item.variant): item for item in reversed(items)}.values():
        parts = PurePosixPath(item.file).parts
        for strip in range(len(parts) - 1):
            for base in bases:
                if base.joinpath(*parts[strip:]).is_file():
                    return base, strip
    return None


def _root(folder: Path, bases: list[Path]) -> Path:
    """The folder that holds the frames of all lists."""
    if len(set(bases)) == 1:
        return bases[0]
    return folder if all(base.is_relative_to(folder) for base in bases) else folder.parent


def _moved(item: Item, place: Path, strip: int) -> Item:
    def move(path: str) -> str:
        return place.joinpath(*PurePosixPath(path).parts[strip:]).as_posix()

    return replace(item, file=move(item.file), mask=move(item.mask) if item.mask else None)


READER = Reader(
    name="deepfakebench",
    title="DeepfakeBench lists of frames",
    shape="dataset_json/*.json, rgb/",
    tree=TREE,
    detect=detect,
    read=read,
)
