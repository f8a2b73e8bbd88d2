"""FaceForensics++: originals and five or six manipulations at up to three compressions, as videos or as extracted frames.

The published splits are lists of pairs, `[["953", "974"], …]`: both originals and both fakes made of the pair, 953_974 and
974_953, belong to the split. Without the lists, splits are made so that no pair is torn apart.
"""

from collections.abc import Iterator
from pathlib import Path

from paretolens.data.readers.listing import REAL, Item, Listing, Media, Reader, files_below, media_of
from paretolens.data.readers.tables import read_json_list, unreadable

__all__ = ["COMPRESSIONS", "READER"]

WANT = 'a FaceForensics++ split, pairs of numbers such as [["953", "974"], …]'
COMPRESSIONS = ("c23", "raw", "c40")
"""In the order in which they are preferred."""
CONTENTS = ("videos", "frames", "images")
TREE = """\
FaceForensics++/
  original_sequences/youtube/c23/videos/000.mp4 …          (raw, c23 or c40; frames/000/*.png instead of videos/ will do)
  original_sequences/actors/c23/videos/01__walking.mp4 …   (optional)
  manipulated_sequences/Deepfakes/c23/videos/000_003.mp4 … (Face2Face, FaceSwap, NeuralTextures, FaceShifter, DeepFakeDetection)
  manipulated_sequences/Deepfakes/masks/videos/000_003.mp4 (optional)
  train.json, val.json, test.json                          (here or in splits/; optional)"""


def detect(folder: Path) -> float:
    """Whether the two folders of sequences are there."""
    found = [(folder / name).is_dir() for name in ("original_sequences", "manipulated_sequences")]
    return sum(found) / 2


def read(folder: Path) -> Listing:
    """Originals, then each manipulation, every compression that is there."""
    splits = _splits(folder)
    items: list[Item] = []
    for kind in ("original_sequences", "manipulated_sequences"):
        for method in sorted(path for path in (folder / kind).glob("*") if path.is_dir()):
            for level in COMPRESSIONS:
                items += _method(method, level, folder, splits)
    notes = () if splits else ("no train.json, val.json, test.json: splits are made by pairs of originals",)
    return Listing(root=folder, layout="faceforensics", items=tuple(items), notes=notes)


def _splits(folder: Path) -> dict[str, str]:
    """Original → split, from the lists of pairs."""
    found: dict[str, str] = {}
    for split in ("train", "val", "test"):
        path = next((path for place in (folder, folder / "splits") if (path := place / f"{split}.json").is_file()), None)
        if path is None:
            continue
        pairs = read_json_list(path, want=WANT)
        if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
            raise unreadable(path, "it holds something else", want=WANT)
        found |= {str(name): split for pair in pairs for name in pair}
    return found


def _method(method: Path, level: str, root: Path, splits: dict[str, str]) -> Iterator[Item]:
    place = next((path for name in CONTENTS if (path := method / level / name).is_dir()), None)
    if place is None:
        return
    masks = _masks(method, level, root)
    for file in files_below(place, root):
        picture = media_of(file) is Media.PICTURE
        stem = Path(file).parent.name if picture else Path(file).stem
        yield _item(file, stem, method, level, splits, masks=masks, picture=picture)


def _masks(method: Path, level: str, root: Path) -> dict[str, str]:
    """Name (of a video, or `video/frame`) → mask."""
    found: dict[str, str] = {}
    for place in (method / "masks", method / level / "masks"):
        for file in files_below(place, root) if place.is_dir() else ():
            path = Path(file)
            found[path.stem if media_of(file) is Media.VIDEO else f"{path.parent.name}/{path.stem}"] = file
    return found


def _item(
    file: str, stem: str, method: Path, level: str, splits: dict[str, str], *, masks: dict[str, str], picture: bool
) -> Item:
    fake = method.parent.name == "manipulated_sequences"
    acted = method.name in ("actors", "DeepFakeDetection")
    who = stem.partition("__")[0].split("_")[:2]  # person, and in fakes whose face was put in; of pairs, also the recordings
    originals = _actors(stem, fake=fake) if acted else tuple(who)
    split = next((splits[name] for name in originals if name in splits), None)
    return Item(
        file=file,
        fake=fake,
        kind=method.name if fake else REAL,
        split=split,
        originals=originals,
        identity=who[0],
        donors=tuple(who[1:]),
        video=f"{method.name}/{stem}" if picture else "",
        variant=level,
        fake_picture=fake,
        fake_sound=None,
        mask=masks.get(f"{stem}/{Path(file).stem}" if picture else stem) if fake else None,
    )


def _actors(stem: str, *, fake: bool) -> tuple[str, ...]:
    """`01_02__walking__YVGY8LOK` is actor 01's `01__walking` with the face of 02."""
    who, _, rest = stem.partition("__")
    scene = rest.rpartition("__")[0] or rest if fake else rest
    return (f"{who.split('_')[0]}__{scene}",)


READER = Reader(
    name="faceforensics",
    title="FaceForensics++",
    shape="original_sequences/youtube/c23/videos/, manipulated_sequences/Deepfakes/c23/videos/",
    tree=TREE,
    detect=detect,
    read=read,
)
