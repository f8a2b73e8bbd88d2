"""Paretolens: search for small, fast students of a large detector which still explain themselves as the teacher does.

The rooms (`paretolens.search`, `paretolens.spaces`, `paretolens.models`, `paretolens.data`, `paretolens.trainers`,
`paretolens.evaluators`, `paretolens.exporters`, `paretolens.mlflow`) are the top-level folders of the repository. Nothing heavy
is imported here: `import paretolens` costs milliseconds.
"""

__all__ = ["__version__"]
__version__ = "0.1.0"
