"""Pictures that are drawn on in face units, with antialiased edges from signed distances.

Face units: the face is 2 high (v from -1 at the crown to 1 at the chin), u points right. All arrays are float32.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["Canvas", "ellipse"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Canvas:
    """n pictures and the face units of their pixels."""

    picture: np.ndarray
    """(n, S, S, 3) in 0..1, drawn on in place."""
    u: np.ndarray
    """(n, S, S), to the right."""
    v: np.ndarray
    """(n, S, S), down."""
    pixel: np.ndarray
    """(n, 1, 1), size of a pixel in face units."""

    def cover(self, distance: np.ndarray) -> np.ndarray:
        """Share of each pixel inside a shape, from the signed distance to its edge (negative inside)."""
        share: np.ndarray = np.clip(0.5 - distance / self.pixel, 0.0, 1.0)
        return share

    def paint(self, alpha: np.ndarray, colour: np.ndarray) -> None:
        """Lay a colour (3,) or (n, S, S, 3) over the pictures, as opaque as alpha (n, S, S) says."""
        picture = self.picture
        picture += alpha[..., None] * (colour - picture)

    def moved(self, u: np.ndarray, v: np.ndarray) -> "Canvas":
        """The same pictures with the origin at (u, v), each (n, 1, 1)."""
        return Canvas(picture=self.picture, u=self.u - u, v=self.v - v, pixel=self.pixel)

    def window(self, half: float, top: float, bottom: float) -> "Canvas":
        """The smallest part that holds |u| < half and top < v < bottom: drawing there alone saves time."""
        wanted = (np.abs(self.u) < half) & (self.v > top) & (self.v < bottom)
        bounds = [slice(None)]
        for axes in ((0, 2), (0, 1)):
            where = np.flatnonzero(wanted.any(axis=axes))
            bounds.append(slice(int(where[0]), int(where[-1]) + 1) if len(where) else slice(0, 0))
        part = (bounds[0], bounds[1], bounds[2])
        return Canvas(picture=self.picture[part], u=self.u[part], v=self.v[part], pixel=self.pixel)


def ellipse(u: np.ndarray, v: np.ndarray, a: np.ndarray | float, b: np.ndarray | float) -> np.ndarray:
    """Approximate signed distance to an ellipse around the origin with half axes a and b."""
    distance: np.ndarray = (np.sqrt((u / a) ** 2 + (v / b) ** 2) - 1.0) * np.minimum(a, b)
    return distance
