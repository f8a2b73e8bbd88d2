"""DFDC: one folder per part, each with a `metadata.json`; a test folder may have `labels.csv` or a `metadata.json` of its own.

Everything in the parts says `"split": "train"`; splits are made by the family of the `original`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paretolens.data.readers.listing import REAL, Item, Listing, Reader, tidy
from paretolens.data.readers.tables import read_json_list, read_rows, unreadable

__all__ = ["READER"]

WANT = "DFDC's list of videos (name → label REAL or FAKE, original)"
TEST_WANT = "DFDC's test list with the columns filename and label"
TREE = """\
DFDC/
  dfdc_train_part_0/metadata.json
  dfdc_train_part_0/owxbbpjpch.mp4 …
  dfdc_train_part_1/ …
  test/labels.csv          (optional: filename,label; videos beside it or in test/videos/)
  test/aalscayrfi.mp4 …"""


def detect(folder: Path) -> float:
    """Whether the folder, or one in it, has a `metadata.json` with REAL and FAKE by name."""
    return 1.0 if any(_is_ours(path) for path in _lists(folder)) else 0.0


def read(folder: Path) -> Listing:
    """Items of all parts, then those of test folders."""
    items: list[Item] = []
    for path in _lists(folder):
        if _is_ours(path):
            items += _part(path, folder)
    for path in _test_lists(folder):
        items += _test(path, folder)
    return Listing(root=folder, layout="dfdc", items=tuple(items))


def _lists(folder: Path) -> Iterator[Path]:
    """`metadata.json` of the folder, of its sub-folders and of theirs (parts within `train/`), in the order of their numbers."""
    for pattern in ("metadata.json", "*/metadata.json", "*/*/metadata.json"):
        yield from sorted(folder.glob(pattern), key=lambda path: (len(str(path)), str(path)))


def _test_lists(folder: Path) -> Iterator[Path]:
    for pattern in ("labels.csv", "*/labels.csv"):
        yield from sorted(folder.glob(pattern))


def _is_ours(path: Path) -> bool:
    with path.open("rb") as stream:
        head = stream.read(4096)
    return head.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] == b"{" and (b'"REAL"' in head or b'"FAKE"' in head or b'"is_fake"' in head)


def _part(path: Path, root: Path) -> Iterator[Item]:
    entries = read_json_list(path, want=WANT)
    if not isinstance(entries, dict):
        raise unreadable(path, "it holds no names", want=WANT)
    base = path.parent.relative_to(root)
    tested = path.parent.name.startswith("test")
    for name, entry in entries.items():
        try:
            fake = _fake(entry)
            original = str(entry.get("original") or entry.get("original_video") or "") if fake else name
        except (KeyError, TypeError, AttributeError) as error:
            raise unreadable(path, f"{name} has no label REAL or FAKE", want=WANT) from error
        yield Item(
            file=(base / tidy(name)).as_posix(),
            fake=fake,
            kind="fake" if fake else REAL,
            split="test" if tested else None,
            originals=(original,) if original else (),
        )


def _fake(entry: Any) -> bool:
    if "label" not in entry:
        return bool(int(entry["is_fake"]))
    return {"REAL": False, "FAKE": True}[str(entry["label"]).upper()]


def _test(path: Path, root: Path) -> Iterator[Item]:
    """The test list; its videos lie beside it or in `videos/`. It doesn't say which recording a fake was made of."""
    base = path.parent / "videos" if (path.parent / "videos").is_dir() else path.parent
    for line, row in read_rows(path, want=TEST_WANT):
        name, label = row.get("filename", ""), row.get("label", "").upper()
        if not name or label not in ("0", "1", "REAL", "FAKE"):
            raise unreadable(path, f"line {line} has no filename or no label 0 or 1", want=TEST_WANT)
        fake = label in ("1", "FAKE")
        file = (base.relative_to(root) / tidy(name)).as_posix()
        yield Item(file=file, fake=fake, kind="fake" if fake else REAL, split="test")


READER = Reader(name="dfdc", title="DFDC", shape="dfdc_train_part_N/metadata.json and *.mp4", tree=TREE, detect=detect, read=read)
