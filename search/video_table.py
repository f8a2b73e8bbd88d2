"""Verdicts on videos, of the verdicts on the face crops that were taken from them."""

import re
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from paretolens.errors import DataError
from paretolens.evaluators.faces import FaceRule, join_faces

__all__ = ["COLUMNS", "video_table"]

COLUMNS = ("video", "verdict", "probability", "faces", "crops", "unread")
_FACE = re.compile(r".*_(\d+)")


def video_table(crops: pd.DataFrame, *, labels: tuple[str, str] = ("real", "fake"), rule: FaceRule | None = None) -> pd.DataFrame:
    """One row per folder of crops, by `evaluators.faces.join_faces`.

    The crop `FOLDER/FRAME_2.png` shows face 2 of the video FOLDER; a name that does not end in `_` and a number shows face 0.

    Args:
        crops: the table of a batch prediction of pictures; those with an error are left out and counted.
        labels: names of the two verdicts.
        rule: None = the published one.

    Returns:
        COLUMNS: verdict, probability of being fake, faces and crops that count, crops that could not be read.

    Raises:
        DataError: crops that lie in no folder of their own, or a video of which no crop was read, or no face counts.
    """
    places = [PurePosixPath(name) for name in crops["clip"]]
    loose = [str(place) for place in places if place.parent == PurePosixPath()]
    if loose:
        raise DataError(
            f"crops of a video must lie in a folder of their own, named as the video; {loose[0]} lies in none: "
            "move it, or leave --videos out"
        )
    videos = np.array([place.parent.as_posix() for place in places], dtype=object)
    read = (crops["error"] == "").to_numpy(dtype=bool)
    if blank := sorted(set(videos) - set(videos[read])):
        raise DataError(f"every video must have a crop that can be read, {blank[0]} has none: mend its crops or take it out")
    faces = np.array([_face(place) for place in places])
    joined = join_faces(crops["logit"].to_numpy(dtype=float)[read], list(videos[read]), faces[read].tolist(), rule=rule)
    table = pd.DataFrame({"video": list(joined.videos), "probability": joined.probability})
    table["verdict"] = np.where(joined.probability > 0.5, labels[1], labels[0])
    table["faces"], table["crops"] = joined.faces, joined.crops
    table["unread"] = [int(((videos == video) & ~read).sum()) for video in joined.videos]
    return table[list(COLUMNS)]


def _face(place: PurePosixPath) -> int:
    match = _FACE.fullmatch(place.stem)
    return int(match[1]) if match else 0
