"""Files that were cut short are named, with what to do."""

from pathlib import Path

import pytest

from paretolens.errors import IntegrityError
from paretolens.search.stored import read_json


def test_reads_an_object(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"mean": 1.5}')
    assert read_json(tmp_path / "a.json", "mean") == {"mean": 1.5}


@pytest.mark.parametrize("text", ["", '{"mean": 1', "[]", "{}", "3"])
def test_damaged_files_are_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(IntegrityError, match=r"a\.json.*delete .*a\.json, and"):
        read_json(tmp_path / "a.json", "mean")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"b\.json"):
        read_json(tmp_path / "b.json")


def test_a_damaged_entry_is_deleted_whole(tmp_path: Path) -> None:
    (tmp_path / "floor.json").write_text("{")
    with pytest.raises(IntegrityError, match=f"delete {tmp_path}, and it is made again"):
        read_json(tmp_path / "floor.json", "mean", entry=tmp_path)
