"""Splits that hold: no recording in two of them, no person where persons are known, both classes in each.

The splits of a layout are taken as they are and checked. What a layout leaves open (val, or all of it) is made by whole families.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import zip_longest
from typing import Annotated

from annotated_types import Ge, Gt, Lt

from paretolens.data.classes import check_classes
from paretolens.data.readers.faceforensics import COMPRESSIONS
from paretolens.data.readers.families import families_of, order_of
from paretolens.data.readers.listing import REAL, Item, Listing
from paretolens.errors import ConfigurationError, DataError

__all__ = ["SPLITS", "Leak", "Organised", "SplitSettings", "organise"]

SPLITS = ("train", "val", "test")
"""Splits that every data set has. Where an item stands in two splits, the later one keeps it."""
ORDER = (*SPLITS, "unseen")


class Leak(StrEnum):
    """What to do with items of two splits that share a person or a recording."""

    REFUSE = "refuse"
    DROP = "drop"
    REPORT = "report"


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """How the items of a folder become splits."""

    seed: Annotated[int, Ge(0)] = 0
    """Seed of splits that are made, and of the choice under a limit."""
    val_share: Annotated[float, Gt(0.0), Lt(1.0)] = 0.15
    """Share of the items that val gets where the layout has none."""
    test_share: Annotated[float, Gt(0.0), Lt(1.0)] = 0.15
    """Share of the items that test gets where the layout has none."""
    recordings: Leak = Leak.REFUSE
    """Recordings that stand in two splits: `refuse`, or `drop` the items of the earlier split (train before val before test)."""
    persons: Leak = Leak.REFUSE
    """Persons, changed or donor, who stand in two splits: `refuse`, `drop` the items of the earlier split, or only `report`."""
    variant: str | None = None
    """Compression to take where every video is there several times; None = c23, raw or c40, the first that is there."""
    unseen: tuple[str, ...] = ()
    """Kinds that are kept out of train, val and test and make a split `unseen` with the real items of test."""
    limit: Annotated[int, Ge(2)] | None = None
    """Most items of each split, taken evenly over kinds; None = all."""
    classes: tuple[str, ...] = ()
    """Tell kinds apart, by these names in the order of the labels: folders of a class each, labels of a manifest, or real and
    the kinds of fakes. `real`, where it is one, comes first. Empty = real or fake."""

    def __post_init__(self) -> None:
        check_classes(self.classes)
        if self.classes and self.unseen:
            raise ConfigurationError(
                f"data.unseen is {', '.join(self.unseen)} beside data.classes: what is in no other split is of no class; "
                "leave one of them out"
            )
        if self.recordings is Leak.REPORT:
            raise ConfigurationError(
                "recordings is report: a recording in two splits makes every figure wrong; use refuse or drop"
            )

    def class_of(self, item: Item) -> str:
        """What every split must have some of: a class, or real or fake."""
        return item.kind if self.classes else "fake" if item.fake else REAL


@dataclass(frozen=True, kw_only=True)
class Organised:
    """Items with their splits."""

    items: tuple[Item, ...]
    """Every item has a split: train, val, test or unseen; real items of test stand in unseen again."""
    groups: tuple[int, ...]
    """Number of each item's family of recordings."""
    identities: tuple[int, ...]
    """Number of each item's person; where nobody knows, of its family."""
    notes: tuple[str, ...]
    """What was chosen, made, dropped or reported."""


def organise(listing: Listing, settings: SplitSettings) -> Organised:
    """Give every item a split.

    Raises:
        DataError: a recording or a person stands in two splits, or a split lacks a class; names an item.
    """
    notes = list(listing.notes)
    items = _one_variant(list(listing.items), settings.variant, notes)
    items = _without_leaks(items, [(family,) for family in families_of(items)], settings.recordings, notes, what="recording")
    if settings.persons is not Leak.REPORT:
        items = _without_leaks(items, [item.persons for item in items], settings.persons, notes, what="person")
    items = _complete(items, settings, notes)  # items that had no split may share a person with one that had
    items = _without_leaks(items, [item.persons for item in items], settings.persons, notes, what="person")
    items = _limited(_with_unseen(items, settings.unseen), settings)
    _check_classes(items, listing, settings)
    groups = families_of(items)
    return Organised(items=tuple(items), groups=tuple(groups), identities=_numbered(items, groups), notes=tuple(notes))


def _one_variant(items: list[Item], wanted: str | None, notes: list[str]) -> list[Item]:
    found = {item.variant for item in items} - {""}
    if wanted is not None and wanted not in found:
        raise DataError(
            f"data.variant is {wanted}: the folder has {', '.join(sorted(found)) or 'no compressions'}: name one of these"
        )
    if not found:
        return items
    chosen = wanted or next((level for level in COMPRESSIONS if level in found), min(found))
    if len(found) > 1:
        notes.append(f"compression {chosen} of {', '.join(sorted(found))} is read (data.variant names another)")
    return [item for item in items if item.variant in ("", chosen)]


def _without_leaks(
    items: list[Item], keys: Sequence[Sequence[int | str]], rule: Leak, notes: list[str], *, what: str
) -> list[Item]:
    """Items without those that share one of their keys with a later split."""
    last: dict[int | str, int] = {}
    witness: dict[int | str, Item] = {}
    owned = [(item, key, ORDER.index(item.split)) for item, own in zip(items, keys, strict=True) if item.split for key in own]
    for item, key, place in owned:
        if place >= last.get(key, 0):
            last[key], witness[key] = place, item
    leaks = {item.file: (item, witness[key]) for item, key, place in owned if place < last[key]}
    if not leaks:
        return items
    item, other = next(iter(leaks.values()))
    pair = f"{item.file} ({item.split}) with {other.file} ({other.split})"
    told = f"{len(leaks)} items share a {what} with a later split, for instance {pair}"
    if rule is Leak.REFUSE:
        allowed = "drop" if what == "recording" else "drop or report"
        raise DataError(f"no {what} may stand in two splits, but {told}: mend the list, or set data.{what}s to {allowed}")
    notes.append(f"{told}{': dropped' if rule is Leak.DROP else ''}")
    return [item for item in items if rule is not Leak.DROP or item.file not in leaks]


def _complete(items: list[Item], settings: SplitSettings, notes: list[str]) -> list[Item]:
    """Items with a split each: by their family's, else by shares; splits that nobody has are made of train."""
    known = {item.split for item in items if item.split is not None}
    adopted = _adopted(items)
    loose = [item for item in items if item.split is None and item.file not in adopted]
    shares = {"val": settings.val_share, "test": settings.test_share}
    wanted = {split: share for split, share in shares.items() if split not in known}
    source = loose or [item for item in items if item.split == "train"]
    if (wanted or loose) and not source:
        raise DataError(f"a data set must have items to train on, the list has {', '.join(sorted(known))} alone: mend its splits")
    chosen = dict(adopted)
    if wanted or loose:
        chosen |= _by_shares(source, wanted or _shares_of(items), settings)
        made = Counter(chosen[item.file] for item in source)
        notes.append("made by whole families: " + ", ".join(f"{made[split]} items {split}" for split in SPLITS if made[split]))
    return [replace(item, split=chosen.get(item.file, item.split)) for item in items]


def _shares_of(items: list[Item]) -> dict[str, float]:
    """Shares of val and test among the items of the three splits."""
    count = Counter(item.split for item in items if item.split in SPLITS)
    return {split: count[split] / count.total() for split in ("val", "test")}


def _adopted(items: list[Item]) -> dict[str, str]:
    """Items without a split whose family has one."""
    families = families_of(items)
    split_of = {family: item.split for family, item in zip(families, items, strict=True) if item.split is not None}
    return {
        item.file: split
        for family, item in zip(families, items, strict=True)
        if item.split is None and (split := split_of.get(family)) is not None
    }


def _by_shares(source: list[Item], shares: dict[str, float], settings: SplitSettings) -> dict[str, str]:
    """File → split, so that each split comes near its share of real and of fake items, or of each class; train gets the rest.

    Families, connected by recording and person, are taken in a fixed order that looks random; each goes where most is missing.
    Where shared persons are only reported, donors connect nobody: with faces that all change hands, all were one family.
    """
    families: dict[int, list[Item]] = defaultdict(list)
    connected = [replace(item, donors=()) for item in source] if settings.persons is Leak.REPORT else source
    for family, item in zip(families_of(connected, persons=True), source, strict=True):
        families[family].append(item)
    total = Counter(settings.class_of(item) for item in source)
    missing = {split: {one: share * total[one] for one in total} for split, share in shares.items()}
    missing["train"] = {one: (1.0 - sum(shares.values())) * total[one] for one in total}
    chosen: dict[str, str] = {}
    for members in sorted(families.values(), key=lambda members: order_of(min(item.file for item in members), settings.seed)):
        size = Counter(settings.class_of(item) for item in members)
        best = max(missing, key=lambda split: sum(size[one] * missing[split][one] / total[one] for one in size))
        for one in size:
            missing[best][one] -= size[one]
        chosen |= {item.file: best for item in members}
    return chosen


def _with_unseen(items: list[Item], kinds: tuple[str, ...]) -> list[Item]:
    """Items with some kinds in a split of their own, beside the real items of test."""
    unknown = set(kinds) - {item.kind for item in items if item.fake}
    if unknown:
        known = ", ".join(sorted({item.kind for item in items if item.fake}))
        raise DataError(f"data.unseen names {', '.join(sorted(unknown))}: the folder's kinds are {known}: name some of these")
    if not kinds:
        return items
    seen = [item for item in items if item.kind not in kinds]
    kept = [item for item in items if item.split == "test" and not item.fake]
    kept += [item for item in items if item.split in ("test", "unseen") and item.kind in kinds]
    return seen + [replace(item, split="unseen") for item in kept]


def _limited(items: list[Item], settings: SplitSettings) -> list[Item]:
    """At most `limit` items a split: half of them real, the fakes evenly over kinds, or evenly over the classes, as far as there
    are enough."""
    if settings.limit is None:
        return items
    kept: set[tuple[str | None, str]] = set()
    for split in ORDER:
        kinds: dict[str, list[Item]] = defaultdict(list)
        for item in sorted(items, key=lambda item: order_of(item.file, settings.seed)):
            if item.split == split:
                kinds[item.kind].append(item)
        real = [] if settings.classes else kinds.pop(REAL, [])
        fakes = [item for turn in zip_longest(*kinds.values()) for item in turn if item is not None]
        half = max(settings.limit // 2, settings.limit - len(fakes))
        chosen = real[:half] + fakes
        kept |= {(split, item.file) for item in chosen[: settings.limit]}
    return [item for item in items if (item.split, item.file) in kept]


def _check_classes(items: list[Item], listing: Listing, settings: SplitSettings) -> None:
    mixed = settings.persons is not Leak.REPORT and any(item.donors for item in items)
    remedy = "add some, or give the list splits of its own" + (", or set data.persons to report (faces change hands)" * mixed)
    wanted = settings.classes or (REAL, "fake")
    for split in (split for split in ORDER if split in SPLITS or any(item.split == split for item in items)):
        found = {settings.class_of(item) for item in items if item.split == split}
        if strange := sorted(found - set(wanted)):
            raise DataError(
                f"data.classes must name every kind, {split} of {listing.root} ({listing.layout}) also has {', '.join(strange)}: "
                "name them too, or take these items away"
            )
        if lacks := " and ".join(name for name in wanted if name not in found):
            made = split in ("val", "test") and all(item.split != split for item in listing.items)
            raise DataError(
                f"every split needs {' and '.join(wanted)} items, {split} of {listing.root} ({listing.layout}) has no {lacks} "
                f"ones: {f'raise data.{split}_share, ' * made}{remedy}"
            )


def _numbered(items: list[Item], groups: list[int]) -> tuple[int, ...]:
    """Number of each item's person, counted in the order of first appearance."""
    numbers: dict[str, int] = {}
    names = [
        f"person {item.identity}" if item.identity is not None else f"family {group}"
        for item, group in zip(items, groups, strict=True)
    ]
    return tuple(numbers.setdefault(name, len(numbers)) for name in names)
