"""The explorer as one HTML file that asks the network for nothing.

Vega draws (vendor/vega.min.js, BSD-3-Clause); the page's own script and style lie in templates/. A Content-Security-Policy within
the page lets only these very scripts run, by their hashes, and nothing be fetched.
"""

from pathlib import Path

from paretolens.exporters.files import write_atomic
from paretolens.mlflow.explorer.document import Document, build_document, to_json
from paretolens.mlflow.explorer.pictures import load_pictures
from paretolens.mlflow.front import Front
from paretolens.mlflow.page import fill, resource, whole_page

__all__ = ["render_page", "write_explorer"]

_PACKAGE = "paretolens.mlflow.explorer"
_SCRIPTS = ("format", "state", "theme", "keys", "scatter", "parallel", "small", "table", "card", "main")
"""The script's modules in the order they are joined: later ones use what earlier ones declare."""


def write_explorer(front: Front, path: Path) -> Path:
    """Write the page of a front, with the members' overlays from the store.

    Args:
        front: The front.
        path: The file.

    Raises:
        StoreError: the file can't be written.
    """
    text = render_page(build_document(front, pictures=load_pictures(front)))
    write_atomic(path, text.encode())
    return path


def render_page(document: Document) -> str:
    """The page of a document."""
    vega = resource(_PACKAGE, "vendor", "vega.min.js")
    script = _joined()
    parts = {"document": to_json(document), "vega": vega, "script": script}
    return whole_page(
        title=f"{document.study} – Paretolens",
        style=resource(_PACKAGE, "templates", "explorer.css"),
        body=fill(resource(_PACKAGE, "templates", "page.html"), parts),
        scripts=(vega, script),
    )


def _joined() -> str:
    modules = "\n".join(resource(_PACKAGE, "templates", f"{name}.js") for name in _SCRIPTS)
    return f'(() => {{\n"use strict";\n{modules}\n}})();\n'
