import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paretolens.data.generated.picture_settings import GeneratedPictures
from paretolens.data.generated.settings import GeneratedSettings
from paretolens.data.pictures import read_picture
from paretolens.data.pipeline.settings import FolderSettings, Take
from paretolens.data.preprocessing import ColourOrder, PixelScale
from paretolens.data.samples import UNKNOWN_OFFSET, SampleSet
from paretolens.data.sources import DEFAULT_SOURCE, DataKind, Source, get_source, sources
from paretolens.errors import ConfigurationError

SETTINGS = GeneratedPictures(seed=4, train=16, val=6, test=6, unseen=4, size=48, pictures_per_identity=4)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pictures")


@pytest.fixture(scope="module")
def sets(place: Path) -> dict[str, SampleSet]:
    return get_source("generated-pictures").prepare(SETTINGS, place, workers=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve real and twelve fake pictures in class folders."""
    root = tmp_path_factory.mktemp("classes")
    for number in range(24):
        path = root / ("fake" if number % 2 else "real") / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 40), (10 * number, 90, 200)).save(path)
    return root


@pytest.mark.parametrize("name", sources())
def test_every_source_keeps_the_contract(name: str, folder: Path, place: Path) -> None:
    given = {
        "generated-clips": GeneratedSettings(seed=4, train=8, val=4, test=4, unseen=4),
        "generated-pictures": SETTINGS,
        "folder": FolderSettings(path=folder, take=Take.PICTURES, size=32, val_share=0.25, test_share=0.25),
    }[name]
    source = get_source(name)
    assert isinstance(source, Source)
    assert source.name == name
    assert isinstance(given, source.settings_type)
    made = source.prepare(given, place, workers=1)
    assert list(made) == [*("train", "val", "test"), *(["unseen"] if source.generated else [])]
    assert source.signature_kind(given) in source.kinds
    assert source.place(given, place).is_dir()
    assert source.listed(given) == {split: len(samples) for split, samples in made.items()}
    for samples in made.values():
        assert samples.signature == source.signature(given)
        assert set(samples.labels.tolist()) == {0.0, 1.0}
        assert samples.generated is source.generated
        assert [tuple(x.shape[1:]) for x in samples.batch([0])] == [spec.shape for spec in samples.signature.inputs]
    again = source.prepare(given, place, workers=1)
    assert {split: samples.fingerprint for split, samples in again.items()} == {
        split: samples.fingerprint for split, samples in made.items()
    }


def test_an_unknown_source_names_the_nearest() -> None:
    with pytest.raises(ConfigurationError, match=r"did you mean generated-pictures\?"):
        get_source("generated-picture")


def test_the_default_source_gives_clips() -> None:
    source = get_source(DEFAULT_SOURCE)
    settings = source.settings_type()
    assert source.signature_kind(settings) is DataKind.CLIPS
    assert [spec.name for spec in source.signature(settings).inputs] == ["video", "audio", "video_mask", "audio_mask"]


def test_pictures_have_the_signature_and_counts_known_before_they_are_made(sets: dict[str, SampleSet]) -> None:
    source = get_source("generated-pictures")
    assert source.signature_kind(SETTINGS) is DataKind.PICTURES
    for split, samples in sets.items():
        assert samples.signature == source.signature(SETTINGS)
        assert len(samples) == source.listed(SETTINGS)[split]
        assert samples.arrays["image"].shape[1:] == (3, 48, 48)
        assert samples.regions.shape[1:] == (1, 16, 16)
        assert float(samples.labels.mean()) == 0.5
        assert (samples.offsets == UNKNOWN_OFFSET).all()
        assert not samples.periods.any()


def test_fakes_and_only_fakes_have_a_region(sets: dict[str, SampleSet]) -> None:
    for samples in sets.values():
        np.testing.assert_array_equal(samples.regions.any(axis=(1, 2, 3)), samples.labels > 0.5)


def test_a_fake_differs_from_its_original_most_where_its_region_is(sets: dict[str, SampleSet]) -> None:
    train = sets["train"]
    inside, outside = [], []
    for row in np.flatnonzero(train.strengths > 0.5):
        original = np.flatnonzero((train.groups == train.groups[row]) & (train.labels == 0))[0]
        images = train.arrays["image"].astype(np.float64)
        change = np.abs(images[row] - images[original]).mean(0).reshape(16, 3, 16, 3).mean(axis=(1, 3))
        region = train.regions[row, 0]
        inside.append(change[region].mean())
        outside.append(change[~region].mean())
    assert len(inside) >= 3
    assert np.mean(inside) > 2 * np.mean(outside)


def test_no_person_and_no_original_is_in_two_splits(sets: dict[str, SampleSet]) -> None:
    for column in ("identities", "groups"):
        owners = [set(getattr(samples, column).tolist()) for samples in sets.values()]
        assert len(set().union(*owners)) == sum(map(len, owners))


def test_the_arrays_are_the_files(sets: dict[str, SampleSet], place: Path) -> None:
    folder = get_source("generated-pictures").place(SETTINGS, place)
    entries = json.loads((folder / "metadata.json").read_text())
    geometry = SETTINGS.preprocessing().of_pictures()
    found = {Image.open(folder / entry["file"]).format for entry in entries}
    assert found == {"WEBP", "JPEG", "PNG"}
    for entry in entries[:6]:
        np.testing.assert_array_equal(
            read_picture(folder / entry["file"], geometry), sets["train"].arrays["image"][entry["index"]]
        )


def test_the_kind_of_file_says_nothing_of_the_label(tmp_path: Path) -> None:
    """Encoding is drawn for each picture alone: with the same seed, real and fake get the same choices, and the same shares."""
    from paretolens.data.generated.pictures import encode_picture, plan_pictures

    many = replace(SETTINGS, train=400)
    pixels = np.zeros((16, 16, 3), np.uint8)
    shares = {False: Counter[str](), True: Counter[str]()}
    for number, plan in enumerate(plan_pictures(many, "train")):
        first = encode_picture(tmp_path / f"{number}", pixels, plan, many)
        shares[plan.fake][first.suffix] += 1
        if number < 24:
            twin = replace(plan, kind="real" if plan.fake else "blend", strength=0.0 if plan.fake else 1.0)
            assert twin.fake is not plan.fake
            other = encode_picture(tmp_path / f"{number}-twin", pixels, twin, many)
            assert first.suffix == other.suffix
            assert first.read_bytes() == other.read_bytes()
    for suffix in (".webp", ".jpg", ".png"):
        real, fake = (shares[label][suffix] / shares[label].total() for label in (False, True))
        assert abs(real - fake) < 0.12


def test_colours_and_scale_are_those_asked_for() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 48, 48), np.uint8)
    settings = GeneratedPictures(size=48, order=ColourOrder.BGR, scale=PixelScale.BYTES)
    signature = get_source("generated-pictures").signature(settings)
    (given,) = settings.preprocessing().inputs(signature, {"image": pixels})
    np.testing.assert_allclose(given.numpy(), pixels[:, ::-1].astype(np.float32), rtol=1e-6)


def test_settings_that_contradict_each_other_are_all_named() -> None:
    with pytest.raises(ConfigurationError, match=r"size must be even.*blend \+ mouth must be 1.*quality_low"):
        GeneratedPictures(size=65, blend=0.9, quality_low=99, quality_high=90)
