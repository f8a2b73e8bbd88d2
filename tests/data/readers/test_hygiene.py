from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paretolens.data.readers.hygiene import Leak, SplitSettings, organise
from paretolens.data.readers.listing import Item, Listing
from paretolens.errors import ConfigurationError, DataError


def listing(*items: Item) -> Listing:
    return Listing(root=Path("set"), layout="manifest", items=items)


def clip(
    name: str, *, fake: bool = False, split: str | None = None, of: str = "", who: str | None = None, kind: str = "swap"
) -> Item:
    kind = kind if fake else "real"
    return Item(file=name, fake=fake, kind=kind, split=split, originals=(of or name,), identity=who)


def whole(split: str) -> list[Item]:
    """A split with both classes."""
    return [clip(f"{split}-real", split=split), clip(f"{split}-fake", fake=True, split=split, of=f"{split}-real")]


def test_splits_of_a_layout_stay_as_they_are() -> None:
    given_items = [item for split in ("train", "val", "test") for item in whole(split)]
    organised = organise(listing(*given_items), SplitSettings())
    assert list(organised.items) == given_items
    assert organised.groups == (0, 0, 1, 1, 2, 2)
    assert organised.notes == ()


def test_a_recording_in_two_splits_is_refused_by_name() -> None:
    items = [item for split in ("train", "val", "test") for item in whole(split)]
    items.append(clip("stray", fake=True, split="train", of="test-real"))
    with pytest.raises(
        DataError, match=r"no recording may stand in two splits, .*stray \(train\) with test-fake \(test\)"
    ) as caught:
        organise(listing(*items), SplitSettings())
    assert "set data.recordings to drop" in str(caught.value)
    kept = organise(listing(*items), SplitSettings(recordings=Leak.DROP))
    assert "stray" not in {item.file for item in kept.items}


def test_a_chain_of_recordings_is_one_family() -> None:
    pair = Item(file="pair", fake=True, kind="swap", split="test", originals=("train-real", "other"))
    items = [item for split in ("train", "val", "test") for item in whole(split)]
    with pytest.raises(DataError, match="no recording"):
        organise(listing(*items, pair), SplitSettings())


def test_recordings_can_not_be_merely_reported() -> None:
    with pytest.raises(ConfigurationError, match="recordings is report"):
        SplitSettings(recordings=Leak.REPORT)


def test_val_is_made_of_train_by_family() -> None:
    items = [clip(f"r{n}", split="train") for n in range(20)] + [
        clip(f"f{n}", fake=True, split="train", of=f"r{n}") for n in range(20)
    ]
    organised = organise(listing(*items, *whole("test")), SplitSettings(val_share=0.25))
    count = Counter((item.split, item.fake) for item in organised.items)
    assert count["val", False] == count["val", True] == 5
    assert count["train", False] == 15
    assert any("made by whole families: 30 items train, 10 items val" in note for note in organised.notes)


def test_an_item_without_split_follows_its_family() -> None:
    items = [item for split in ("train", "val", "test") for item in whole(split)]
    organised = organise(listing(*items, clip("loose", fake=True, of="val-real")), SplitSettings())
    assert organised.items[-1].split == "val"


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.integers(0, 6), st.integers(0, 9)), min_size=1, max_size=60),
    st.integers(0, 5),
)
def test_made_splits_never_share_a_recording_or_a_person(drawn: list[tuple[int, bool, int, int]], seed: int) -> None:
    items = [
        replace(clip(f"x{n}", fake=fake, of=f"o{of}", who=f"p{who}"), donors=(f"p{donor}",) if fake else ())
        for n, (of, fake, who, donor) in enumerate(drawn)
    ]
    items += [clip(f"extra-{n}", fake=n % 2 == 1, of=f"e{n}", who=f"e{n}") for n in range(24)]
    organised = organise(listing(*items), SplitSettings(seed=seed, val_share=0.3, test_share=0.3))
    for keys in (lambda item: item.originals, lambda item: (item.identity, *item.donors)):
        splits = defaultdict(set)
        for item in organised.items:
            for key in keys(item):
                splits[key].add(item.split)
        assert all(len(found) == 1 for found in splits.values())


def test_unseen_kinds_leave_all_splits_and_stand_beside_the_real_items_of_test() -> None:
    items = [item for split in ("train", "val", "test") for item in whole(split)]
    new = [clip(f"gan-{split}", fake=True, split=split, of=f"{split}-real", kind="gan") for split in ("train", "test")]
    organised = organise(listing(*items, *new), SplitSettings(unseen=("gan",)))
    unseen = [item.file for item in organised.items if item.split == "unseen"]
    assert unseen == ["test-real", "gan-test"]
    assert all(item.kind != "gan" for item in organised.items if item.split != "unseen")
    with pytest.raises(DataError, match=r"data\.unseen names diffusion: the folder's kinds are gan, swap"):
        organise(listing(*items, *new), SplitSettings(unseen=("diffusion",)))


def test_a_limit_keeps_half_real_and_every_kind() -> None:
    items = [clip(f"r{n}", split="train") for n in range(30)]
    items += [clip(f"{kind}{n}", fake=True, split="train", kind=kind) for kind in ("a", "b") for n in range(40)]
    organised = organise(listing(*items, *whole("val"), *whole("test")), SplitSettings(limit=20))
    assert Counter(item.kind for item in organised.items if item.split == "train") == {"real": 10, "a": 5, "b": 5}


def test_a_split_without_a_class_is_refused() -> None:
    items = [*whole("train"), *whole("test"), clip("v", split="val")]
    with pytest.raises(DataError, match=r"every split needs real and fake items, val of set \(manifest\) has no fake ones"):
        organise(listing(*items), SplitSettings())


def test_a_share_that_makes_an_empty_split_is_named() -> None:
    with pytest.raises(DataError, match=r"val of set .* has no real and fake ones: raise data\.val_share, add some"):
        organise(listing(*whole("train"), *whole("test")), SplitSettings(val_share=0.01))


def test_a_list_of_test_items_alone_is_refused() -> None:
    with pytest.raises(DataError, match="must have items to train on, the list has test alone"):
        organise(listing(*whole("test")), SplitSettings())


def test_an_unseen_split_of_the_layout_stays_and_gets_the_kinds_that_are_named() -> None:
    items = [item for split in ("train", "val", "test", "unseen") for item in whole(split)]
    assert organise(listing(*items), SplitSettings()).items == tuple(items)
    new = [clip(f"gan-{split}", fake=True, split=split, of=f"{split}-real", kind="gan") for split in ("test", "unseen")]
    organised = organise(listing(*items, *new), SplitSettings(unseen=("gan",)))
    unseen = {item.file for item in organised.items if item.split == "unseen"}
    assert unseen == {"unseen-real", "unseen-fake", "test-real", "gan-test", "gan-unseen"}
    stray = clip("stray", fake=True, split="train", of="unseen-real")
    with pytest.raises(DataError, match=r"no recording .*stray \(train\) with unseen-fake \(unseen\)"):
        organise(listing(*items, stray), SplitSettings())


def test_faces_that_all_change_hands_are_reported_where_that_is_wanted() -> None:
    items = [clip(f"r{n}", split="train", who=f"p{n}") for n in range(10)]
    items += [
        replace(clip(f"f{n}", fake=True, split="train", of=f"r{n}", who=f"p{n}"), donors=(f"p{(n + 1) % 10}",)) for n in range(10)
    ]
    with pytest.raises(DataError, match=r"set data\.persons to report"):
        organise(listing(*items, *whole("test")), SplitSettings(val_share=0.2))
    told = organise(listing(*items, *whole("test")), SplitSettings(val_share=0.2, persons=Leak.REPORT))
    assert Counter(item.split for item in told.items) == {"train": 16, "val": 4, "test": 2}
    assert any("share a person with a later split" in note for note in told.notes)
