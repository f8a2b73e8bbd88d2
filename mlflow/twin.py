"""Torch twins in the store: the weights that gradients need, which an exported file has not.

A trial's run and a study's run (its teacher) keep theirs in `twin/`; a registered version carries its own beside the ONNX file.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from paretolens.errors import BackendError, ConfigurationError, ParetolensError, StoreError
from paretolens.mlflow.store import one_line, open_client, without_password
from paretolens.naming import did_you_mean

__all__ = ["TWIN", "fetch_twin", "is_address"]

TWIN = "twin"
"""Folder of the torch twin within a run's artefacts, and within a registered version's."""
_RECORD = "model.json"
_LISTED = 1000
_FILES = (_RECORD, "model.safetensors")
_MODEL = re.compile(r"models:/+(?P<name>[^/@:]+)(?:@(?P<alias>[^/@:]+)|/(?P<version>\d+))")
_RUN = re.compile(r"runs:/+(?P<run>[^/@:]+)(?:/(?P<path>[^@:]+?))?/?")
_FORMS = "models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN_ID or runs:/RUN_ID/FOLDER"


def is_address(text: str) -> bool:
    """Whether a text names something in a store rather than a folder."""
    return text.startswith(("models:", "runs:"))


def fetch_twin(address: str, folder: Path, *, tracking_uri: str) -> Path:
    """Download the twin of a registered version or of a run; the folder that holds `model.json` and its weights.

    Args:
        address: `models:/NAME@ALIAS`, `models:/NAME/VERSION`, `runs:/RUN_ID` or `runs:/RUN_ID/FOLDER`.
        folder: where to write; must exist.
        tracking_uri: the store, which keeps the registry too.

    Raises:
        ConfigurationError: the address has another form.
        BackendError: what it names has no twin.
        StoreError: the store cannot be read, or knows no such run or version.
    """
    model, run = _MODEL.fullmatch(address), _RUN.fullmatch(address)
    if model is None and run is None:
        raise ConfigurationError(f"{address}: must be {_FORMS}")
    client = open_client(tracking_uri)
    from mlflow.exceptions import MlflowException

    try:
        for root in _version_roots(client, model) if model else _run_roots(client, run):
            if any(Path(file.path).name == _RECORD for file in _listed(root, tracking_uri)):
                return _downloaded(root, folder, tracking_uri)
    except ParetolensError:
        raise
    except MlflowException as error:
        raise StoreError(f"{address} in {without_password(tracking_uri)}: {one_line(error)}{_remedy(client, model)}") from error
    except Exception as error:  # every store and artefact repository has errors of its own
        raise StoreError(f"{address} in {without_password(tracking_uri)}: {one_line(error)}") from error
    raise BackendError(
        f"{address}: no torch twin ({TWIN}/{_RECORD}) is kept with it, and an exported file has no gradients to explain it by; "
        "give the trial's folder (studies/STUDY/trials/NAME in its workspace), or register it again from there"
    )


def _version_roots(client: Any, found: "re.Match[str]") -> Iterator[str]:
    """Its own twin, then that of the run it is from."""
    name, alias, number = found["name"], found["alias"], found["version"]
    version = client.get_model_version_by_alias(name, alias) if alias else client.get_model_version(name, number)
    yield f"{client.get_model_version_download_uri(name, version.version).rstrip('/')}/{TWIN}"
    if version.run_id:
        yield f"{client.get_run(version.run_id).info.artifact_uri}/{TWIN}"


def _remedy(client: Any, found: "re.Match[str] | None") -> str:
    """What the store has instead; nothing if it does not say."""
    if found is None:
        return "; 'paretolens ui' shows the runs and their ids; name another store with --tracking-uri"
    with suppress(Exception):  # the store has just failed: what is reported is that, not how it fails again
        return _others(client, found)
    return ""


def _others(client: Any, found: "re.Match[str]") -> str:
    names = [model.name for model in client.search_registered_models(max_results=_LISTED)]
    if found["name"] not in names:
        hint = did_you_mean(found["name"], names, listing="'paretolens ui' lists all", said="there are")
        return f"{hint}; 'paretolens register STUDY' registers a study's front, --tracking-uri names another store"
    model = client.get_registered_model(found["name"])
    versions = [int(version.version) for version in client.search_model_versions(f"name = '{found['name']}'")]
    aliases = ", ".join(f"@{alias}" for alias in sorted(model.aliases)) or "no alias"
    numbers = f"versions {min(versions)} to {max(versions)}" if versions else "no version"
    return f"; it has {aliases}, and {numbers}"


def _run_roots(client: Any, found: "re.Match[str] | None") -> Iterator[str]:
    """The run's twin; with a folder, that folder or the twin in it."""
    assert found is not None, "one of both forms matched"
    place = "/".join(filter(None, (client.get_run(found["run"]).info.artifact_uri, found["path"])))
    if found["path"]:
        yield place
    yield f"{place}/{TWIN}"


def _listed(root: str, tracking_uri: str) -> list[Any]:
    from mlflow.artifacts import list_artifacts

    return list(list_artifacts(artifact_uri=root, tracking_uri=tracking_uri))


def _downloaded(root: str, folder: Path, tracking_uri: str) -> Path:
    from mlflow.artifacts import download_artifacts

    for name in _FILES:
        download_artifacts(artifact_uri=f"{root}/{name}", dst_path=str(folder), tracking_uri=tracking_uri)
    return folder
