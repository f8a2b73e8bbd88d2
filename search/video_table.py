"""Verdicts on videos, of the verdicts on the face crops that were taken from them."""

import re
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from paretolens.errors import DataError
from paretolens.evaluators.faces import FaceRule, counting, join_faces

__all__ = ["COLUMNS", "require_video_folders", "video_table"]

COLUMNS = ("video", "verdict", "probability", "faces", "crops", "left_out", "unread")
_FACE = re.compile(r"(?:.*\D)?\d+_(\d+)")  # the number of the frame must be there: that of `frame_3` is no face's


def require_video_folders(names: Sequence[str], *, rule: FaceRule | None = None) -> None:
    """Hold the names of crops against what `video_table` needs of them, before any crop is judged.

    Args:
        names: paths within the folder of all videos.
        rule: None = the published one.

    Raises:
        DataError: crops that lie in no folder of their own, or a video with no face that counts.
    """
    places = [PurePosixPath(name) for name in names]
    loose = [str(place) for place in places if place.parent == PurePosixPath()]
    if loose:
        raise DataError(
            f"crops of a video must lie in a folder of their own, named as the video; {loose[0]} lies in none: "
            "move it, or leave --videos out"
        )
    counting([place.parent.as_posix() for place in places], [_face(place) for place in places], rule=rule)


def video_table(crops: pd.DataFrame, *, labels: tuple[str, str] = ("real", "fake"), rule: FaceRule | None = None) -> pd.DataFrame:
    """One row per folder of crops, by `evaluators.faces.join_faces`.

    The crop `FOLDER/FRAME_2.png` shows face 2 of the video FOLDER; a name that does not end in
    two numbers with a `_` between them shows face 0.

    Args:
        crops: the table of a batch prediction of pictures; those with an error are left out and counted.
        labels: names of the two verdicts.
        rule: None = the published one.

    Returns:
        COLUMNS: verdict, probability of being fake, faces and crops that count, crops left out since their face does not count,
        crops that could not be read.

    Raises:
        DataError: as `require_video_folders`, or a video of which no crop that counts was read.
    """
    require_video_folders(list(crops["clip"]), rule=rule)
    places = [PurePosixPath(name) for name in crops["clip"]]
    videos = np.array([place.parent.as_posix() for place in places], dtype=object)
    read = (crops["error"] == "").to_numpy(dtype=bool)
    faces = np.array([_face(place) for place in places])
    counted = counting(list(videos), faces.tolist(), rule=rule)
    if blank := sorted(set(videos) - set(videos[read & counted])):
        raise DataError(
            f"every video must have a crop that can be read, of a face that counts; {blank[0]} has none: mend its crops or "
            "take it out"
        )
    joined = join_faces(crops["logit"].to_numpy(dtype=float)[read], list(videos[read]), faces[read].tolist(), rule=rule)
    table = pd.DataFrame({"video": list(joined.videos), "probability": joined.probability})
    table["verdict"] = np.where(joined.probability > 0.5, labels[1], labels[0])
    table["faces"], table["crops"] = joined.faces, joined.crops
    table["left_out"] = [int(((videos == video) & read & ~counted).sum()) for video in joined.videos]
    table["unread"] = [int(((videos == video) & ~read).sum()) for video in joined.videos]
    return table[list(COLUMNS)]


def _face(place: PurePosixPath) -> int:
    match = _FACE.fullmatch(place.stem)
    return int(match[1]) if match else 0
