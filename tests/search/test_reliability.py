"""docs/reliability.md: every promise names what shows it, and what it names is there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
ROWS = [line.split("|")[1:-1] for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| fault")]


def test_every_promise_names_a_test_or_a_part_of_the_benchmark() -> None:
    assert len(ROWS) >= 20
    assert [
        fault for fault, _, shown in ROWS if "::" not in shown and "make reliability" not in shown and ".py" not in shown
    ] == []


def test_what_is_named_is_there() -> None:
    files = {path.relative_to(TESTS).as_posix(): path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py")}
    named = re.findall(r"`([\w/]+\.py)(?:::(test_\w+)(…?))?`", PAGE)
    assert len(named) >= 20
    for file, name, cut in named:
        holders = [text for path, text in files.items() if f"/{path}".endswith(f"/{file}")]
        assert holders, f"{file} is named in docs/reliability.md"
        found = re.compile(rf"^def {name}" + ("" if cut else r"\("), re.MULTILINE)
        assert not name or any(found.search(text) for text in holders), f"{file}::{name}{cut} is named in docs/reliability.md"
    benchmark = (ROOT / "benchmarks" / "reliability.py").read_text(encoding="utf-8")
    for part in re.findall(r"`make reliability` \((\w+)\)", PAGE):
        assert f'"{part}": {part}' in benchmark
