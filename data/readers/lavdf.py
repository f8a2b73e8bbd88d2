"""LAV-DF: `metadata.json` (or `metadata.min.json`) and one folder of videos per split.

Fields as published with the set: file, n_fakes, fake_periods (seconds), original (may be null), modify_video, modify_audio,
split.
"""

from pathlib import Path
from typing import Any

from paretolens.data.readers.listing import REAL, Item, Listing, Reader, tidy
from paretolens.data.readers.tables import read_json_list, unreadable

__all__ = ["READER"]

WANT = "LAV-DF's list of videos (file, n_fakes, fake_periods, original, split)"
SPLITS = {"train": "train", "dev": "val", "val": "val", "test": "test", "unseen": "unseen"}
TREE = """\
LAV-DF/
  metadata.json            (or metadata.min.json)
  train/000001.mp4 …
  dev/000002.mp4 …
  test/000003.mp4 …"""


def detect(folder: Path) -> float:
    """Whether there is a list beside folders that are named as splits."""
    listed = _list_of(folder)
    if listed is None:
        return 0.0
    with listed.open("rb") as stream:
        head = stream.read(4096)
    return 1.0 if head.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] == b"[" and b'"n_fakes"' in head else 0.0


def read(folder: Path) -> Listing:
    """Items in the order of the list."""
    path = _list_of(folder) or folder / "metadata.json"
    entries = read_json_list(path, want=WANT)
    if not isinstance(entries, list):
        raise unreadable(path, "it holds no list", want=WANT)
    return Listing(
        root=folder, layout="lavdf", items=tuple(_item(entry, number, path) for number, entry in enumerate(entries, start=1))
    )


def _list_of(folder: Path) -> Path | None:
    return next((path for name in ("metadata.json", "metadata.min.json") if (path := folder / name).is_file()), None)


def _item(entry: Any, number: int, path: Path) -> Item:
    try:
        file, fake = tidy(entry["file"]), int(entry["n_fakes"]) > 0
        original = entry.get("original")
        picture, sound = bool(entry.get("modify_video", False)), bool(entry.get("modify_audio", False))
        periods = tuple((float(first), float(last)) for first, last in entry.get("fake_periods") or ())
        split = SPLITS[str(entry.get("split") or file.split("/")[0])]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise unreadable(path, f"entry {number} has no usable {error}", want=WANT) from error
    known = "modify_video" in entry or "modify_audio" in entry
    return Item(
        file=file,
        fake=fake,
        kind=str(entry.get("kind") or _kind(fake, picture, sound)),
        split=split,
        originals=(tidy(original),) if original else (file,),
        identity=str(entry["identity"]) if entry.get("identity") is not None else None,
        fake_picture=picture if known else None,
        fake_sound=sound if known else None,
        periods=periods if fake else (),
    )


def _kind(fake: bool, picture: bool, sound: bool) -> str:
    if not fake:
        return REAL
    return {(True, True): "video+audio", (True, False): "video", (False, True): "audio"}.get((picture, sound), "fake")


READER = Reader(
    name="lavdf", title="LAV-DF", shape="metadata.json, train/*.mp4, dev/, test/", tree=TREE, detect=detect, read=read
)
