"""What every page has in common: templates that lie beside the code, and a policy that lets nothing in from outside."""

import base64
import hashlib
import html
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files

__all__ = ["content_policy", "fill", "resource", "whole_page"]

_TEMPLATES = ("paretolens.mlflow.explorer", "templates")


def resource(package: str, *place: str) -> str:
    """A text file of a package."""
    return files(package).joinpath(*place).read_text(encoding="utf-8")


def whole_page(*, title: str, style: str, body: str, scripts: Sequence[str] = ()) -> str:
    """A page around a body: colours and type that all pages share, light and dark, and the policy that keeps others out.

    Args:
        title: Text, not markup.
        style: The page's own, after the shared one.
        body: Markup, with the elements of its scripts.
        scripts: What these elements hold; nothing else runs.
    """
    shared = resource(*_TEMPLATES, "base.css")
    parts = {"policy": content_policy(*scripts), "title": html.escape(title), "style": shared + style, "body": body}
    return fill(resource(*_TEMPLATES, "skeleton.html"), parts)


def fill(template: str, parts: Mapping[str, str]) -> str:
    """A template with every `@@name@@` replaced once: what a part holds is never looked at again."""
    return re.sub(r"@@(\w+)@@", lambda found: parts[found[1]], template)


def content_policy(*scripts: str) -> str:
    """A Content-Security-Policy that lets these very scripts run, by their hashes, and nothing be fetched."""
    if not scripts:
        return "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in scripts)
    # Vega compiles its expressions with Function(); they come from our own specifications, never from the document.
    return f"default-src 'none'; script-src {hashes} 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:"
