"""The samples of a configuration, from whatever source it names."""

from dataclasses import replace

from paretolens.data.samples import SampleSet
from paretolens.search.config import Config
from paretolens.search.progress import Update
from paretolens.search.workspace import Workspace

__all__ = ["prepared"]


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
