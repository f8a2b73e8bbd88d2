"""Plain class folders: videos or pictures in `real` and `fake`, or in a folder for each class that the settings name, with or
without folders of splits above them.
"""

from pathlib import Path

from paretolens.data.readers.classes import class_folders, class_listing, has_each, named_listing
from paretolens.data.readers.listing import Listing, Reader

__all__ = ["READER"]

NAMES = {
    **dict.fromkeys(("real", "original", "originals", "genuine", "authentic", "pristine"), False),
    **dict.fromkeys(("fake", "fakes", "deepfake", "deepfakes", "manipulated", "synthetic", "generated"), True),
}
TREE = """\
anything/                     or, with splits
  real/*.mp4 …                  train/real/ …, train/fake/ …
  fake/*.mp4 …                  val/ …, test/ …
  fake may hold folders         or a folder for each name of data.classes
                                (also: original, genuine, authentic, pristine; deepfake, manipulated, synthetic, generated)"""


def detect(folder: Path) -> float:
    """Whether there are class folders of both kinds; any other layout that fits is the better one."""
    return 0.6 if {fake for _, fake in class_folders(folder, NAMES)} == {True, False} else 0.0


def read(folder: Path) -> Listing:
    """Items by split."""
    return class_listing(folder, NAMES, "classfolders")


def read_classes(folder: Path, classes: tuple[str, ...]) -> Listing:
    """Items by class, where each class has a folder; else by the kinds of the fakes."""
    return named_listing(folder, classes, "classfolders") if has_each(folder, classes) else read(folder)


READER = Reader(
    name="classfolders",
    title="plain class folders",
    shape="[train/]real/, [train/]fake/",
    tree=TREE,
    detect=detect,
    read=read,
    read_classes=read_classes,
)
