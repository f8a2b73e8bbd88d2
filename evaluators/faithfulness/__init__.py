"""Is an explanation right? What EPS cannot say: a student may preserve a bad explanation."""

from paretolens.evaluators.faithfulness.curves import Curves, deletion_and_insertion
from paretolens.evaluators.faithfulness.measure import Faithfulness, measure_faithfulness, teacher_grids
from paretolens.evaluators.faithfulness.pointing import Pointing, play_pointing
from paretolens.evaluators.faithfulness.truth import Truth, true_cells

__all__ = [
    "Curves",
    "Faithfulness",
    "Pointing",
    "Truth",
    "deletion_and_insertion",
    "measure_faithfulness",
    "play_pointing",
    "teacher_grids",
    "true_cells",
]
