"""The samples of a configuration, from whatever source it names."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from paretolens.data.samples import SampleSet
from paretolens.errors import ConfigurationError
from paretolens.exporters.files import write_atomic
from paretolens.search.config import Config
from paretolens.search.journal_file import store_errors
from paretolens.search.progress import Update
from paretolens.search.stored import read_json
from paretolens.search.workspace import Workspace

__all__ = ["hold_ground", "notes_of", "prepared"]

GROUND = "ground.json"


def prepared(config: Config, workspace: Workspace, update: Update | None = None) -> dict[str, SampleSet]:
    """The splits train, val, test and, where the source has one, unseen; made or read if the cache lacks them.

    Their signature has the outputs of the configuration's family.

    Raises:
        UserError: files are missing or unreadable, the cache cannot be written, or what it holds is damaged.
    """
    source, settings = config.make_source(), config.make_data_settings()
    kind = source.signature_kind(settings)
    progress = None if update is None else lambda done, total: update(done, total, str(kind))
    outputs = config.make_family().signature(config.make_model_settings()).outputs
    splits = source.prepare(settings, workspace.cache, progress)
    return {name: replace(split, signature=replace(split.signature, outputs=outputs)) for name, split in splits.items()}


def notes_of(samples: Mapping[str, SampleSet]) -> tuple[str, ...]:
    """What a user should know of how the samples came about, a line each."""
    from paretolens.data.folder import told

    folder = samples["train"].folder
    return () if folder is None else told(folder.parent)


def hold_ground(study: Path, samples: Mapping[str, SampleSet], teacher: str) -> None:
    """Note what a study's trials are compared on when it begins, and hold it against the note ever after.

    Args:
        study: its folder.
        samples: its splits.
        teacher: address of its teacher in the cache, which names all that shapes it.

    Raises:
        ConfigurationError: it has changed.
        StoreError: the note cannot be written.
    """
    found, note = {**{name: split.fingerprint for name, split in samples.items()}, "teacher": teacher}, study / GROUND
    if not note.exists():
        with store_errors(study):
            write_atomic(note, json.dumps(found, indent=1).encode())
        return
    known = read_json(note, entry=study)
    if changed := sorted(name for name in known.keys() | found.keys() if known.get(name) != found.get(name)):
        raise ConfigurationError(
            f"study {study.name}: what its trials are compared on has changed since it began ({', '.join(changed)}), so that new "
            "figures would not stand beside the old ones; bring the data or the version of this program back to go on with it, "
            "or start another study with --name"
        )
