"""The Pareto explorer: one self-contained page to see a front, understand it and choose from it."""

from paretolens.mlflow.explorer.document import Document, build_document
from paretolens.mlflow.explorer.page import render_page, write_explorer

__all__ = ["Document", "build_document", "render_page", "write_explorer"]
