from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paretolens.data.generated.picture_settings import GeneratedPictures
from paretolens.data.generated.picture_sheet import draw_picture_sheet
from paretolens.data.prepare import prepare_pictures
from paretolens.errors import DataError


def test_the_sheet_shows_regions_in_red_and_says_where_it_cannot_be_written(tmp_path: Path) -> None:
    settings = GeneratedPictures(seed=1, train=8, val=2, test=2, unseen=2, size=48, pictures_per_identity=4)
    sets = prepare_pictures(settings, tmp_path / "cache", workers=1)
    draw_picture_sheet(sets, tmp_path / "sheet.png", per_kind=2)
    pixels = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB")).astype(int)
    assert ((pixels[..., 0] > 240) & (pixels[..., 1] < 30) & (pixels[..., 2] < 30)).sum() > 50
    with pytest.raises(DataError, match="choose another file"):
        draw_picture_sheet(sets, tmp_path / "sheet.png" / "inner.png")
