"""Data sets of a few drawn files in the layouts that the published ones have on disk: encoded videos, sounds and pictures."""

from bench_layouts.cases import CASES, Case
from bench_layouts.material import Material
from bench_layouts.trees import LAYOUTS, Layout

__all__ = ["CASES", "LAYOUTS", "Case", "Layout", "Material"]
