"""WildRF and ForenSynths: pictures in `0_real` and `1_fake` below train, val and test; test has a folder per source.

Kinds are the platform (reddit, twitter, facebook) or generator and object (progan/cat). Extensions include .webp and .jfif.
"""

from pathlib import Path

from paretolens.data.readers.classes import class_folders, class_listing
from paretolens.data.readers.listing import Listing, Reader

__all__ = ["READER"]

NAMES = {"0_real": False, "1_fake": True}
TREE = """\
WildRF/                                 ForenSynths/
  train/0_real/*.jpg, 1_fake/*.webp       train/cat/0_real/*.png, 1_fake/*.png
  val/0_real/ …, 1_fake/ …                val/cat/0_real/ …
  test/reddit/0_real/ …, 1_fake/ …        test/progan/cat/0_real/ …
  test/twitter/ …, facebook/ …            test/deepfake/0_real/ …"""


def detect(folder: Path) -> float:
    """Whether there are class folders with these names."""
    return 1.0 if {fake for _, fake in class_folders(folder, NAMES)} == {True, False} else 0.0


def read(folder: Path) -> Listing:
    """Items by split and platform."""
    return class_listing(folder, NAMES, "wildrf")


READER = Reader(
    name="wildrf",
    title="WildRF, ForenSynths",
    shape="train/0_real/, train/1_fake/, test/reddit/0_real/",
    tree=TREE,
    detect=detect,
    read=read,
)
