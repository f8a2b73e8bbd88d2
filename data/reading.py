"""What is read of a file beyond its geometry: which frames are chosen, and which part of each picture is kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from annotated_types import Ge, Le

__all__ = ["Crop", "Reading", "Select"]


class Select(StrEnum):
    """A way of choosing frames."""

    UNIFORM = "uniform"
    """At even distances."""
    MOTION = "motion"
    """Where the picture changes most from the frame before."""
    SHARPNESS = "sharpness"
    """The least blurred frames."""
    DIVERSITY = "diversity"
    """Frames that differ most from one another."""
    CONTENT = "content"
    """The middle of every scene; long scenes are divided."""


class Crop(StrEnum):
    """Which part of a picture is kept."""

    CENTRE = "centre"
    """The central square."""
    BOXES = "boxes"
    """The boxes of a JSON file."""
    YUNET = "yunet"
    """The face that a YuNet model finds."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How frames and parts of pictures were chosen where that is not the usual way: even frames, central squares."""

    select: Select = Select.UNIFORM
    """Which frames of a clip."""
    oversample: Annotated[int, Ge(1), Le(64)] = 1
    """Candidates per chosen frame; 1 with select uniform."""
    crop: Crop = Crop.CENTRE
    """Which part of a picture."""
    margin: Annotated[float, Ge(0.0), Le(4.0)] = 0.0
    """Room around a box on each side, as a share of its longer side."""
    face_model: str = ""
    """SHA-256 of the file that finds faces; empty unless crop is yunet."""

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "Reading":
        """Inverse of `dataclasses.asdict`; raises ValueError or TypeError."""
        return Reading(**{**data, "select": Select(data["select"]), "crop": Crop(data["crop"])})
