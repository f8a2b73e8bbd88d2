"""A study's report: one Markdown text, and the same as a page, with everything in it that a reader needs."""

from paretolens.mlflow.report.page import FORMATS, build_report, log_report, render_page, write_report

__all__ = ["FORMATS", "build_report", "log_report", "render_page", "write_report"]
