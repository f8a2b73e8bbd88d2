"""The explorer as one HTML file that asks the network for nothing.

Vega draws (vendor/vega.min.js, BSD-3-Clause); the page's own script and style lie in templates/. A Content-Security-Policy within
the page lets only these very scripts run, by their hashes, and nothing be fetched.
"""

import base64
import hashlib
import html
import os
import re
import shlex
from importlib.resources import files
from pathlib import Path

from paretolens.errors import StoreError
from paretolens.mlflow.explorer.document import Document, build_document, to_json
from paretolens.mlflow.explorer.pictures import load_pictures
from paretolens.mlflow.front import Front

__all__ = ["render_page", "write_explorer"]

_PACKAGE = "paretolens.mlflow.explorer"
_SCRIPTS = ("format", "state", "theme", "keys", "scatter", "parallel", "small", "table", "card", "main")
"""The script's modules in the order they are joined: later ones use what earlier ones declare."""


def write_explorer(front: Front, path: Path, *, command: str | None = None) -> Path:
    """Write the page of a front, with the members' overlays from the store.

    Args:
        front: The front.
        path: The file.
        command: What exports a member once its trial's name follows; `paretolens export STUDY --select` by default.

    Raises:
        StoreError: the file can't be written.
    """
    study = front.study.name if front.study else "STUDY"
    told = command or f"paretolens export {shlex.quote(study)} --select"
    text = render_page(build_document(front, command=told, pictures=load_pictures(front)))
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise StoreError(f"{path}: can't be written ({error.strerror})") from error
    return path


def render_page(document: Document) -> str:
    """The page of a document."""
    vega = _text("vendor", "vega.min.js")
    script = _joined()
    parts = {
        "policy": _policy(vega, script),
        "title": html.escape(f"{document.study} – Paretolens"),
        "style": _text("templates", "explorer.css"),
        "document": to_json(document),
        "vega": vega,
        "script": script,
    }
    return re.sub(r"@@(\w+)@@", lambda found: parts[found[1]], _text("templates", "page.html"))


def _joined() -> str:
    modules = "\n".join(_text("templates", f"{name}.js") for name in _SCRIPTS)
    return f'(() => {{\n"use strict";\n{modules}\n}})();\n'


def _policy(*scripts: str) -> str:
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts)
    # Vega compiles its expressions with Function(); they come from our own specifications, never from the document.
    return f"default-src 'none'; script-src {hashes} 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:"


def _text(*place: str) -> str:
    return files(_PACKAGE).joinpath(*place).read_text(encoding="utf-8")
