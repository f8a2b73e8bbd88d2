"""What `paretolens families` says, held against the registries."""

import json

import pytest

from paretolens.data.sources import get_source
from paretolens.search.cli import main
from paretolens.spaces.registry import families, get_family


def test_every_family_is_listed_with_its_data_and_counts(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["families", "--json"]) == 0
    rows = {row["family"]: row for row in json.loads(capsys.readouterr().out)}
    assert tuple(rows) == families()
    for name, row in rows.items():
        assert row["published"] == {network: known.parameters for network, known in get_family(name).published.items()}
        assert all(get_family(name).data_kind in get_source(source).kinds for source in row["sources"])
    assert "image-classifier-quick" in rows["image-classifier"]["runs_here"]
    assert {"default", "full"} <= set(rows["pinpoint"]["runs_here"])


def test_the_list_names_presets_as_they_are_typed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["families"]) == 0
    shown = capsys.readouterr().out
    assert "--preset image-classifier-quick" in shown
    assert "PIN-Lite 1,694,508" in shown
