"""Make the samples of a configuration (kept for the next time) and count them by split and kind; of the built-in clips, draw a
contact sheet: frames with the manipulated region, the mouth against the sound, the coefficients that a model hears.

  paretolens data                    make the configuration's samples, the built-in clips unless it names a source
  paretolens data layouts            the data sets that can be read, each with the folders and files that are expected
  paretolens data check DIR          what a folder holds, by split and kind, and whether its splits hold; nothing is decoded
  paretolens data check DIR --decode the same, then decode all of it, and list what can't be read
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paretolens.search.cli.common import add_configuration, add_workspace, configuration_of, make_console, workspace_of

if TYPE_CHECKING:
    from rich.console import Console

    from paretolens.data.pipeline.settings import FolderSettings
    from paretolens.data.readers.hygiene import Organised
    from paretolens.data.readers.listing import Listing
    from paretolens.data.samples import SampleSet
    from paretolens.data.sources import DataKind

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("action", nargs="?", choices=("make", "check", "layouts"), default="make", help="default: make")
    parser.add_argument("path", nargs="?", type=Path, metavar="DIR", help="with check: a data set's folder, or a list in it")
    parser.add_argument("--layout", metavar="NAME", help="with check: its layout (default: the one that fits)")
    parser.add_argument("--decode", action="store_true", help="with check: decode all of it, too")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="draw the contact sheet into this PNG")
    add_configuration(parser)
    add_workspace(parser)


def run(options: argparse.Namespace) -> int:
    """Make, check or show."""
    console = make_console()
    if options.action == "layouts":
        from paretolens.data.readers.registry import expected_trees

        console.print(expected_trees(), highlight=False, markup=False, soft_wrap=True)
        return 0
    return _check(options, console) if options.action == "check" else _make(options, console)


def _make(options: argparse.Namespace, console: "Console") -> int:
    from paretolens.data.sources import source_label
    from paretolens.errors import ConfigurationError
    from paretolens.search.progress import ConsoleSteps
    from paretolens.search.samples import prepared

    config = configuration_of(options)
    source, settings = config.make_source(), config.make_data_settings()
    if options.sheet and not source.generated:
        raise ConfigurationError(f"--sheet draws generated samples, data.source is {source.name}: leave --sheet out")
    workspace = workspace_of(options)
    workspace.ensure_writable()
    with ConsoleSteps(console).step(f"data ({source_label(source.name)})") as update:
        sets = prepared(config, workspace, update)
        update(1, 1, str(source.place(settings, workspace.cache)))
    kind = source.signature_kind(settings)
    counts = {split: Counter(str(kind) for kind in samples.kinds) for split, samples in sets.items()}
    groups = {split: {f"source {kind}": len(set(samples.groups.tolist()))} for split, samples in sets.items()}
    _show(console, f"{source.name}: {source.summary}", counts, groups)
    if options.sheet:
        _draw(kind, sets, settings, options.sheet)
        console.print(f"  contact sheet          {options.sheet}", highlight=False, soft_wrap=True)
    return 0


def _draw(kind: "DataKind", sets: "dict[str, SampleSet]", settings: Any, sheet: Path) -> None:
    from paretolens.data.sources import DataKind

    if kind is DataKind.PICTURES:
        from paretolens.data.generated.picture_sheet import draw_picture_sheet

        draw_picture_sheet(sets, sheet)
    else:
        from paretolens.data.generated.sheet import draw_sheet

        draw_sheet(sets, settings, sheet)


def _check(options: argparse.Namespace, console: "Console") -> int:
    from paretolens.data.readers.hygiene import organise
    from paretolens.data.readers.registry import read_listing

    settings = _folder_settings(options)
    listing = read_listing(settings.path, settings.layout, settings.classes)
    organised = organise(listing, settings)
    _tell(console, listing, organised, settings)
    if options.decode:
        _decode(options, console, settings, listing)
    return 0


def _folder_settings(options: argparse.Namespace) -> "FolderSettings":
    """What the command line and the section `data` of a configuration say of the folder."""
    from paretolens.data.pipeline.settings import FolderSettings
    from paretolens.errors import ConfigurationError
    from paretolens.search.config import named_tree
    from paretolens.search.schema import build

    named = dict(named_tree(file=options.config, assignments=options.assignments, flags={}).get("data") or {})
    named.pop("source", None)
    said = {"path": options.path, "layout": options.layout}
    named |= {key: value for key, value in said.items() if value is not None}
    if "path" not in named:
        raise ConfigurationError("data check must be told where the data set is: name its folder, or set data.path")
    return build(FolderSettings, named, path=("data",))


def _tell(console: "Console", listing: "Listing", organised: "Organised", settings: "FolderSettings") -> None:
    from paretolens.errors import DataError

    missing = [item.file for item in listing.items if not (listing.root / item.file).is_file()]
    console.print(
        f"layout {listing.layout}, {len(listing.items)} {listing.media}s in {listing.root}", highlight=False, soft_wrap=True
    )
    counts: dict[str, Counter[str]] = {}
    groups: dict[str, set[int]] = {}
    persons: dict[str, set[str]] = {}
    for item, group in zip(organised.items, organised.groups, strict=True):
        split = str(item.split)
        counts.setdefault(split, Counter())[item.kind] += 1
        groups.setdefault(split, set()).add(group)
        persons.setdefault(split, set()).update([item.identity] if item.identity is not None else [])
    order: list[str] = [split for split in ("train", "val", "test", "unseen") if split in counts]
    further = {split: {"recordings": len(groups[split]), "persons": len(persons[split])} for split in order}
    _show(console, "items by split and kind", {split: counts[split] for split in order}, further)
    for note in organised.notes:
        console.print(f"  {note}", highlight=False, markup=False, soft_wrap=True)
    if len(missing) == len(listing.items):
        raise DataError(
            f"{listing.root}: none of its {len(missing)} files is there, for instance {missing[0]}: unpack them there"
        )
    if missing:
        console.print(
            f"  {len(missing)} of {len(listing.items)} files are not there, for instance {missing[0]}",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    said = "persons were only counted (data.persons is report)" if settings.persons == "report" else "persons were checked"
    known = said if any(persons.values()) else "persons are not known"
    console.print(f"  no recording stands in two splits; {known}", highlight=False)


def _decode(options: argparse.Namespace, console: "Console", settings: "FolderSettings", listing: "Listing") -> None:
    from dataclasses import replace

    from paretolens.data.folder import decoded_folder
    from paretolens.data.pipeline.settings import Take
    from paretolens.data.readers.listing import Media
    from paretolens.search.progress import ConsoleSteps

    workspace = workspace_of(options)
    workspace.ensure_writable()
    wanted = replace(settings, take=Take.PICTURES) if listing.media is Media.PICTURE else settings
    with ConsoleSteps(console).step("decoding") as update:
        folder = decoded_folder(wanted, workspace.cache, lambda done, total: update(done, total, "files"))
        update(1, 1, str(folder))
    skipped = len((folder / "skipped.csv").read_text(encoding="utf-8").splitlines()) - 1
    console.print(f"  {skipped} files were skipped: {folder / 'skipped.csv'}", highlight=False, soft_wrap=True)


def _show(console: "Console", title: str, counts: Mapping[str, Counter[str]], further: Mapping[str, Mapping[str, int]]) -> None:
    """A table of splits: samples in all, further figures, and each kind."""
    from rich.table import Table

    kinds = list(dict.fromkeys(kind for found in counts.values() for kind in sorted(found, key=lambda name: name != "real")))
    columns = list(next(iter(further.values()), {}))
    table = Table(title=title, title_justify="left", pad_edge=False)
    for name in ("split", "all", *columns, *kinds):
        table.add_column(name, justify="left" if name == "split" else "right")
    for split, found in counts.items():
        row: Iterable[int] = (found.total(), *further[split].values(), *(found[kind] for kind in kinds))
        table.add_row(split, *map(str, row))
    console.print(table)
