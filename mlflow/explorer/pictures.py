"""Overlays of the front's members, out of the store's artefacts and small enough to travel within a page."""

import base64
import io
import logging
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paretolens.mlflow.front import Front
from paretolens.mlflow.store import one_line, open_client

__all__ = ["Picture", "Pictures", "load_pictures", "shrink"]

_log = logging.getLogger(__name__)

FOLDER = "overlays"
WIDTH, QUALITY = 720, 68
"""Pixels across and WebP quality: the overlays' text can still be read."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image within the page."""

    name: str
    """File name without prefix and ending: `best`, `median`, `worst`."""
    src: str
    """Data URI."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """What could be had."""

    of: dict[str, list[Picture]] = field(default_factory=dict)
    """Trial → its pictures."""
    notes: list[str] = field(default_factory=list)
    """What is missing and why, a line each."""


def load_pictures(front: Front, *, budget_bytes: int = 6_000_000, trials: Collection[str] | None = None) -> Pictures:
    """The overlays of the members, the knee's first and then the loneliest, until the budget is spent.

    With `trials`, of these members only. A picture that can't be read is left out and noted: it never keeps a page from being
    made.
    """
    if front.study is None or not len(front.members):
        return Pictures()
    if not front.study.tracking_uri:
        return Pictures(notes=["The studies lie in different stores: their overlays are left out."])
    found = Pictures()
    members = front.members.sort_values(["knee", "crowding"], ascending=False, kind="stable")
    if trials is not None:
        members = members[members["trial"].astype(str).isin(trials)]
    spent, left_out, lost, absent = 0, 0, list[str](), list[str]()
    with tempfile.TemporaryDirectory(prefix="paretolens-pictures-") as scratch:
        client = open_client(front.study.tracking_uri)
        for number, row in enumerate(members.to_dict("records")):
            if spent >= budget_bytes:
                left_out = len(members) - number
                break
            trial = str(row["trial"])
            try:
                pictures = _overlays(client, str(row["run_id"]), Path(scratch) / str(number))
            except Exception as error:
                _log.debug("overlays of %s", trial, exc_info=True)
                lost.append(f"{trial} ({one_line(error, longest=80)})")
                continue
            if pictures:
                found.of[trial] = pictures
                spent += sum(len(picture.src) for picture in pictures)
            else:
                absent.append(trial)
    if left_out:
        found.notes.append(f"{left_out} members of the front are without pictures, to keep the page small")
    if absent:
        found.notes.append(f"members whose runs have no overlays: {_first(absent)}")
    if lost:
        found.notes.append(f"overlays that can't be read from the store: {_first(lost)}")
    return found


def _first(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def shrink(path: Path) -> Picture:
    """An image as a WebP data URI, at most 720 pixels wide.

    Raises:
        OSError: it is no image, or damaged.
    """
    from PIL import Image

    with Image.open(path) as opened:
        image = opened.convert("RGB")
    if image.width > WIDTH:
        image = image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "WEBP", quality=QUALITY, method=6)
    src = f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"
    return Picture(name=path.stem.removeprefix("overlay_"), src=src, width=image.width, height=image.height)


def _overlays(client: Any, run_id: str, folder: Path) -> list[Picture]:
    names = [item.path for item in client.list_artifacts(run_id, FOLDER) if not item.is_dir]
    if not names:
        return []
    folder.mkdir()
    return [shrink(Path(client.download_artifacts(run_id, name, str(folder)))) for name in sorted(names)]
