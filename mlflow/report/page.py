"""The report as Markdown and as HTML: the same text, pictures within the file, nothing asked of the network."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from paretolens import __version__
from paretolens.errors import ConfigurationError, StoreError
from paretolens.exporters.files import write_atomic
from paretolens.mlflow.chart import headline
from paretolens.mlflow.explorer.pictures import load_pictures
from paretolens.mlflow.front import Front
from paretolens.mlflow.page import resource, whole_page
from paretolens.mlflow.plots import front_figure, png_bytes
from paretolens.mlflow.report import sections
from paretolens.mlflow.report.figures import chosen_member, trial_title
from paretolens.mlflow.report.markdown import escape, heading
from paretolens.mlflow.report.reproduce import state_line
from paretolens.mlflow.store import one_line, open_client, without_password

__all__ = ["FORMATS", "build_report", "log_report", "render_page", "write_report"]

FORMATS = ("html", "md")
"""Endings of the files that a report can be written as."""
_PACKAGE = "paretolens.mlflow.report"
_FOLDER = "report"
_DPI = 110


def write_report(
    front: Front, stem: Path, *, formats: Sequence[str] = FORMATS, trial: str | None = None, limits: Sequence[str] = ()
) -> list[Path]:
    """Write the report of a study beside each other as HTML and Markdown.

    Args:
        front: The front of one study, read from a store.
        stem: Path of the files without their ending.
        formats: Which of `FORMATS`.
        trial: The member it is about; the knee by default.
        limits: What the models must not be used for, as the family and its data know it.

    Raises:
        ConfigurationError: no such member or format, or not the front of one study.
        StoreError: a file can't be written.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats:
        raise ConfigurationError(f"report format {', '.join(unknown) or 'none'}: choose from {', '.join(FORMATS)}")
    text = build_report(front, trial=trial, limits=limits)
    title = front.study.name if front.study else ""
    written = []
    for ending in formats:
        path = stem.with_name(f"{stem.name}.{ending}")
        write_atomic(path, (text if ending == "md" else render_page(text, title)).encode())
        written.append(path)
    return written


def build_report(front: Front, *, trial: str | None = None, limits: Sequence[str] = ()) -> str:
    """The report as Markdown; see `write_report`.

    Raises:
        ConfigurationError: no such member, or not the front of one study.
    """
    study = front.study
    if study is None:
        raise ConfigurationError("a report is about a study: a table of trials alone has no setting and no teacher")
    row = chosen_member(front, trial)
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    blocks = [heading(f"{study.name}: report", 1), f"Written by Paretolens {escape(__version__)} on {written}."]
    if unfinished := state_line(study, len(front.trials)):
        blocks.append(f"> **{escape(unfinished)}**")
    blocks.append(f"{escape(headline(front)[1])}.")
    blocks += [*sections.setting(front, study), *sections.baseline(study, front), *sections.members(front)]
    pictures: dict[str, str] = {}
    if row is not None:
        pictures["front"] = f"data:image/png;base64,{base64.b64encode(png_bytes(front_figure(front), dpi=_DPI)).decode()}"
        blocks += [*sections.chosen(row), *sections.comparison(front, study, row), *_overlays(front, row, pictures)]
    blocks += sections.limits(front, study, limits)
    blocks += sections.reproduce(study, row)
    # At the end, so that the text can be read without scrolling past them.
    blocks += [f"[{name}]: {source}" for name, source in pictures.items()]
    return "\n\n".join(blocks) + "\n"


def _overlays(front: Front, row: "pd.Series[Any]", pictures: dict[str, str]) -> list[str]:
    """What teacher and student look at, as references whose pictures are added to `pictures`."""
    found = load_pictures(front, trials=[str(row["trial"])])
    own = found.of.get(str(row["trial"]), [])
    blocks = [heading("What teacher and student look at")]
    for picture in own:
        name = f"overlay-{picture.name}"
        pictures[name] = picture.src
        blocks += [f"The sample with the {escape(picture.name)} EPS of {trial_title(row)}:", f"![{escape(picture.name)}][{name}]"]
    if not own:
        blocks.append("The store holds no overlays of this trial.")
    return [*blocks, *(escape(note) for note in found.notes)]


def render_page(text: str, title: str) -> str:
    """Markdown as a page. Raw HTML in it stays text, and links can't run anything."""
    from markdown_it import MarkdownIt

    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    body = body.replace("<table>", '<div class="scroll"><table>').replace("</table>", "</table></div>")
    style = resource(_PACKAGE, "templates", "report.css")
    return whole_page(title=f"{title} – Paretolens report", style=style, body=f"<main>\n{body}\n</main>")


def log_report(front: Front, paths: Sequence[Path]) -> None:
    """Put the files into the study's run, where the MLflow UI shows them under Artifacts, report.

    Raises:
        StoreError: the store can't be written, or the front is not from one study's run.
    """
    study = front.study
    if study is None or not study.run_id:
        raise StoreError("only the report of one study, read from a store, can be logged to its run")
    client = open_client(study.tracking_uri)
    try:
        for path in paths:
            client.log_artifact(study.run_id, str(path), _FOLDER)
    except Exception as error:
        raise StoreError(f"tracking store {without_password(study.tracking_uri)}: {one_line(error)}") from error
