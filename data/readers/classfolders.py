"""Plain class folders: videos or pictures in `real` and `fake`, with or without folders of splits above them."""

from pathlib import Path

from paretolens.data.readers.classes import class_folders, class_listing
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
  fake may hold folders         (also: original, genuine, authentic, pristine; deepfake, manipulated, synthetic, generated)"""


def detect(folder: Path) -> float:
    """Whether there are class folders of both kinds; any other layout that fits is the better one."""
    return 0.6 if {fake for _, fake in class_folders(folder, NAMES)} == {True, False} else 0.0


def read(folder: Path) -> Listing:
    """Items by split."""
    return class_listing(folder, NAMES, "classfolders")


READER = Reader(
    name="classfolders", title="plain class folders", shape="[train/]real/, [train/]fake/", tree=TREE, detect=detect, read=read
)
