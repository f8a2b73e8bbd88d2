from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paretolens.data.generated.settings import GeneratedSettings
from paretolens.data.generated.sheet import draw_sheet
from paretolens.data.samples import SampleSet
from paretolens.errors import DataError


def test_the_sheet_shows_regions_in_red(sets: dict[str, SampleSet], settings: GeneratedSettings, tmp_path: Path) -> None:
    draw_sheet(sets, settings, tmp_path / "sheet.png", per_kind=1)
    picture = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB")).astype(int)
    red = (picture[..., 0] > 230) & (picture[..., 1] < 60) & (picture[..., 2] < 60)
    assert red.sum() > 50
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_a_sheet_that_cannot_be_written_is_named(sets: dict[str, SampleSet], settings: GeneratedSettings, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match=r"contact sheet .*folder: cannot be written \(Is a directory\)"):
        draw_sheet(sets, settings, tmp_path / "folder", per_kind=1)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
