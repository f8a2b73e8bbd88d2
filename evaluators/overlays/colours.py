"""Colours and sizes that all parts of a picture share."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["BOTH", "COLUMNS", "GAP", "PALE", "STUDENT", "TEACHER", "TILE", "TRUTH", "Floats"]

Floats = NDArray[np.float64]

TILE = 80
"""Side of a drawn frame in pixels of the strip."""
GAP = 6
"""Pixels between drawn frames."""
COLUMNS = 8
"""Frames drawn at most."""
TEACHER, STUDENT, BOTH, TRUTH = "#0072B2", "#E69F00", "#FFFFFF", "#F5A9D0"
PALE = 0.3
"""How strongly a modality is drawn that was not scored."""
