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
    for file, name in re.findall(r"`([\w/]+\.py)::(test_\w+?)_?(?:…|`)", PAGE):
        holders = [text for path, text in files.items() if path.endswith(f"/{file}")]
        assert any(f"def {name}" in text for text in holders), f"{file}::{name} is named in docs/reliability.md"
    benchmark = (ROOT / "benchmarks" / "reliability.py").read_text(encoding="utf-8")
    for part in re.findall(r"`make reliability` \((\w+)\)", PAGE):
        assert f'"{part}": {part}' in benchmark
