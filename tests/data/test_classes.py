"""Labels that are numbers of classes: class folders, manifests, generated pictures."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from paretolens.data.classes import by_kind, check_classes
from paretolens.data.generated.picture_settings import GeneratedPictures
from paretolens.data.pipeline.settings import FolderSettings, Take
from paretolens.data.prepare import set_folder
from paretolens.data.readers.hygiene import organise
from paretolens.data.readers.registry import read_listing
from paretolens.data.samples import SampleSet
from paretolens.data.sources import get_source
from paretolens.errors import ConfigurationError, DataError

COLOURS = {"cat": (200, 30, 30), "dog": (30, 200, 30), "owl": (30, 30, 200)}
ANIMALS = tuple(COLOURS)
KINDS = ("real", "blend", "mouth")
DRAWN = GeneratedPictures(train=16, val=8, test=8, unseen=4, size=32, pictures_per_identity=4, classes=KINDS)


def draw(path: Path, colour: tuple[int, int, int], number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(number).integers(0, 40, (24, 24, 3), np.uint8) + np.uint8(colour)).save(path)


def settings_of(root: Path, classes: tuple[str, ...] = ANIMALS) -> FolderSettings:
    return FolderSettings(path=root, take=Take.PICTURES, size=16, val_share=0.25, test_share=0.25, classes=classes)


@pytest.fixture(scope="module")
def animals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures of each of three classes, none of which is real or fake."""
    root = tmp_path_factory.mktemp("animals")
    for number in range(36):
        name = ANIMALS[number % 3]
        draw(root / name.title() / f"{number:02d}.png", COLOURS[name], number)
    return root


def colours_fit(samples: SampleSet) -> bool:
    """Whether the brightest colour is that of the class."""
    return bool((samples.arrays["image"].mean(axis=(2, 3)).argmax(1) == samples.labels).all())


def test_every_class_folder_is_a_class(animals: Path, tmp_path: Path) -> None:
    source, settings = get_source("folder"), settings_of(animals)
    made = source.prepare(settings, tmp_path, workers=1)
    for samples in made.values():
        assert samples.signature == source.signature(settings)
        assert samples.signature.classes == ANIMALS
        assert not samples.signature.has_real
        assert colours_fit(samples)
        assert not samples.regions.any()  # nothing was manipulated
        assert set(samples.labels.tolist()) == {0.0, 1.0, 2.0}
        assert [ANIMALS[int(label)] for label in samples.labels] == list(samples.kinds)
    assert [int((made["train"].labels == index).sum()) for index in range(3)] == [6, 6, 6]


def test_the_order_of_the_classes_is_part_of_the_samples_name(animals: Path, tmp_path: Path) -> None:
    source = get_source("folder")
    first, other = (source.prepare(settings_of(animals, order), tmp_path, workers=1)["val"] for order in (ANIMALS, ANIMALS[::-1]))
    assert first.fingerprint != other.fingerprint
    np.testing.assert_array_equal(first.labels, 2 - other.labels)
    assert len([place for place in (tmp_path / "folder").iterdir() if place.is_dir()]) == 1  # decoded once


def test_a_saved_set_keeps_its_classes(animals: Path, tmp_path: Path) -> None:
    val = get_source("folder").prepare(settings_of(animals), tmp_path / "cache", workers=1)["val"]
    val.save(tmp_path / "val")
    again = SampleSet.load(tmp_path / "val")
    assert again.signature.classes == ANIMALS
    np.testing.assert_array_equal(again.labels, val.labels)


def test_a_manifest_names_classes(tmp_path: Path) -> None:
    for number in range(12):
        draw(tmp_path / "all" / f"{number}.png", COLOURS[ANIMALS[number % 3]], number)
    rows = [f"{number}.png,{ANIMALS[number % 3]},{('train', 'train', 'val', 'test')[number // 3]}" for number in range(12)]
    (tmp_path / "all" / "manifest.csv").write_text("\n".join(["path,label,split", *rows]))
    made = get_source("folder").prepare(settings_of(tmp_path / "all"), tmp_path / "cache", workers=1)
    assert {name: len(samples) for name, samples in made.items()} == {"train": 6, "val": 3, "test": 3}
    assert all(colours_fit(samples) for samples in made.values())
    with pytest.raises(DataError, match=r"label is 'cat'"):
        read_listing(tmp_path / "all")
    with pytest.raises(DataError, match=r"or one of cat, dog\), but line 4 .*label is 'owl'"):
        read_listing(tmp_path / "all", classes=("cat", "dog"))


def test_kinds_of_fakes_beside_real_are_classes(tmp_path: Path) -> None:
    for number in range(24):
        place = ("real", "fake/swap", "real", "fake/lips")[number % 4]
        draw(tmp_path / place / f"{number}.png", (10, 20, 30), number)
    classes = ("real", "lips", "swap")
    listing = read_listing(tmp_path, classes=classes)
    assert {item.kind for item in listing.items} == set(classes)
    made = get_source("folder").prepare(settings_of(tmp_path, classes), tmp_path / "cache", workers=1)
    assert all(samples.signature.has_real for samples in made.values())
    with pytest.raises(DataError, match=r"data.classes must name every kind, train .* also has swap"):
        organise(read_listing(tmp_path), settings_of(tmp_path, ("real", "lips")))
    fewer = read_listing(tmp_path, classes=("real", "lips"))
    assert {item.kind for item in fewer.items} == {"real", "lips"}
    assert fewer.notes == ("6 files lie in no folder of a class, for instance fake/swap/1.png: left out",)


def test_generated_pictures_are_labelled_by_their_kind(tmp_path: Path) -> None:
    source = get_source("generated-pictures")
    made = source.prepare(DRAWN, tmp_path, workers=1)
    assert list(made) == ["train", "val", "test"]
    assert source.listed(DRAWN) == {split: len(samples) for split, samples in made.items()}
    for samples in made.values():
        assert [KINDS[int(label)] for label in samples.labels] == list(samples.kinds)
        np.testing.assert_array_equal(samples.regions.any(axis=(1, 2, 3)), samples.labels > 0)
    plain = GeneratedPictures(**{name: getattr(DRAWN, name) for name in DRAWN.__dataclass_fields__ if name != "classes"})
    assert set_folder(plain, tmp_path) == set_folder(DRAWN, tmp_path)  # the same pictures
    assert set(source.prepare(plain, tmp_path, workers=1)["train"].labels.tolist()) == {0.0, 1.0}
    with pytest.raises(DataError, match=r"in train it has no swap: its kinds are blend, mouth, real"):
        by_kind(source.prepare(plain, tmp_path, workers=1), (*KINDS, "swap"))


@pytest.mark.parametrize(
    ("classes", "told"),
    [
        (("cat",), "two or more"),
        (("cat", "cat"), "each once"),
        (("cat", ""), "two or more names of letters"),
        (("cat", "a(b)"), "two or more names of letters"),
        (("cat", "real"), "must begin with real"),
    ],
)
def test_names_that_cannot_be_classes_are_refused(classes: tuple[str, ...], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        check_classes(classes)


def test_what_classes_do_not_go_with_is_refused(animals: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"generated pictures must be blend, mouth and real"):
        GeneratedPictures(classes=("real", "blend"))
    with pytest.raises(ConfigurationError, match=r"data\.unseen is owl beside data.classes"):
        FolderSettings(path=animals, take=Take.PICTURES, unseen=("owl",), classes=ANIMALS)
