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

__all__ = ["hold_data", "prepared"]

DATA = "data.json"


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


def hold_data(study: Path, samples: Mapping[str, SampleSet]) -> None:
    """Note what a study's data are when it begins, and hold them against the note ever after.

    Raises:
        ConfigurationError: they have changed.
        StoreError: the note cannot be written.
    """
    found, note = {name: split.fingerprint for name, split in samples.items()}, study / DATA
    if not note.exists():
        with store_errors(study):
            write_atomic(note, json.dumps(found, indent=1).encode())
        return
    known = read_json(note, entry=study)
    if changed := sorted(name for name in known.keys() | found.keys() if known.get(name) != found.get(name)):
        raise ConfigurationError(
            f"study {study.name}: its data have changed since it began ({', '.join(changed)}), so that new trials could not be "
            "compared with the old ones; bring the data back to resume it, or start another study with --name"
        )
