"""Front members as versions of a registered model, which `mlflow.onnx.load_model` loads and `mlflow models serve` serves.

Everything goes through the client: no run is opened again, no global state is touched, and what is there already is kept, so that
registering twice leaves what registering once does.
"""

import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from paretolens.errors import BackendError, ConfigurationError, StoreError
from paretolens.mlflow.names import Tag, TrialState
from paretolens.mlflow.records import StudyRecord
from paretolens.mlflow.store import one_line, open_client, without_password
from paretolens.mlflow.twin import TWIN

__all__ = ["ALIASES", "Candidate", "Registered", "register"]

ALIASES = ("knee", "fastest", "most-faithful", "most-accurate")
"""Aliases that point at versions of the registered model, one of each."""
_SHA = "paretolens.sha256"
_LONGEST_TEXT = 5000  # what MLflow's tables hold of a description
_LONGEST_TAG = 5000
_REQUIREMENTS = ("mlflow", "onnx", "onnxruntime", "numpy", "pandas")
_SESSION = {
    "intra_op_num_threads": 1,
    "execution_mode": "sequential",
    "extra_session_config": {"session.intra_op.allow_spinning": "0"},
}


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One model to register."""

    run_id: str
    """Run of its trial."""
    trial: str
    """Name of the trial."""
    onnx: Path
    """The file that was scored."""
    sha256: str
    """Checksum of the file: with the run, what makes a version the same version."""
    twin: Path | None = None
    """Folder of the saved torch model that the file was exported from; None = the version carries none."""
    example: Mapping[str, np.ndarray]
    """One real, preprocessed sample by input name, each (1, …)."""
    card: str
    """Model card, Markdown."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """What it scored; kept as tags of the version and as metrics of the logged model."""
    params: Mapping[str, str] = field(default_factory=dict)
    """Its knobs."""
    aliases: tuple[str, ...] = ()
    """Which of `ALIASES` point at it."""


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A version in the registry."""

    name: str
    """Registered model."""
    version: str
    """Number of the version."""
    trial: str
    """Trial it is from."""
    aliases: tuple[str, ...]
    """Aliases that point at it."""
    created: bool
    """False if it was there already."""


def register(
    study: StudyRecord,
    candidates: Sequence[Candidate],
    *,
    name: str,
    description: str = "",
    members: Collection[str] = (),
) -> list[Registered]:
    """Bring a registered model to where the candidates are.

    Versions of earlier fronts stay, tagged `paretolens.pareto` = "false"; aliases move to the candidates that bear them.

    Args:
        study: The study that the candidates are from; its store keeps the registry too.
        candidates: Models, each with its run.
        name: Registered model.
        description: Shown at its head, Markdown.
        members: Runs of all members of the front, where the candidates are only some of them.

    Raises:
        ConfigurationError: the name is taken by another study or by somebody else, or is none that MLflow takes.
        BackendError: a file can't be run by ONNX Runtime.
        StoreError: the store can't be written.
    """
    client = open_client(study.tracking_uri)
    _check_name(name)
    try:
        known = _open_model(client, study, name, description)
        done = [_bring(client, study, name, candidate, known) for candidate in candidates]
        on_front = {*members, *(candidate.run_id for candidate in candidates)}
        for old in (own for (run_id, _), own in known.items() if run_id not in on_front):
            _tag(client, name, old, {Tag.PARETO: "false", Tag.KNEE: "false"})
    except (ConfigurationError, BackendError):
        raise
    except Exception as error:
        raise StoreError(f"registry in {without_password(study.tracking_uri)}: {one_line(error)}") from error
    return done


def _check_name(name: str) -> None:
    if not name.strip() or any(letter in name for letter in "/:'\"`") or len(name) > 200:
        raise ConfigurationError(f"model name {name!r}: up to 200 characters, none of them / : ' \" or `")


def _open_model(client: Any, study: StudyRecord, name: str, description: str) -> dict[tuple[str, str], Any]:
    """Make sure that the registered model exists and is this study's; its versions by run and checksum."""
    found = next(iter(client.search_registered_models(f"name = '{name}'", max_results=1)), None)
    if found is None:
        tags = {Tag.STUDY: study.name, "paretolens.run_id": study.run_id}
        client.create_registered_model(name, tags=tags, description=description[:_LONGEST_TEXT])
        return {}
    owner = found.tags.get("paretolens.run_id")
    if owner != study.run_id:
        whose = f"belongs to study {found.tags.get(Tag.STUDY)} (run {owner})" if owner else "is none of ours"
        raise ConfigurationError(f"registered model {name!r} exists and {whose}; choose another with --model-name")
    if found.description != description[:_LONGEST_TEXT]:
        client.update_registered_model(name, description=description[:_LONGEST_TEXT])
    versions = _versions(client, name)
    return {(version.run_id, version.tags.get(_SHA, "")): version for version in versions}


def _versions(client: Any, name: str) -> list[Any]:
    versions, token = [], None
    while True:
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        versions += list(page)
        token = page.token
        if not token:
            return versions


def _bring(client: Any, study: StudyRecord, name: str, candidate: Candidate, known: dict[tuple[str, str], Any]) -> Registered:
    tags = {
        _SHA: candidate.sha256,
        Tag.STUDY: study.name,
        Tag.TRIAL: candidate.trial,
        Tag.STATE: TrialState.COMPLETE,
        Tag.PARETO: "true",
        Tag.KNEE: "true" if "knee" in candidate.aliases else "false",
        **{metric: f"{value:.6g}" for metric, value in candidate.metrics.items()},
    }
    found = known.get((candidate.run_id, candidate.sha256))
    created = found is None
    if found is None:
        model = _log_model(client, study, candidate)
        # as a source, `models:/ID` would be looked up in MLflow's global store, not in this one
        found = client.create_model_version(
            name, source=model.artifact_location, run_id=candidate.run_id, model_id=model.model_id,
            tags={key: str(text)[:_LONGEST_TAG] for key, text in tags.items()}, description=candidate.card[:_LONGEST_TEXT],
        )  # fmt: skip
    else:
        if candidate.twin is not None and not client.list_artifacts(candidate.run_id, TWIN):  # of an earlier version of ours
            client.log_artifacts(candidate.run_id, str(candidate.twin), TWIN)
        _tag(client, name, found, tags)
        if found.description != candidate.card[:_LONGEST_TEXT]:
            client.update_model_version(name, found.version, description=candidate.card[:_LONGEST_TEXT])
    for alias in candidate.aliases:
        client.set_registered_model_alias(name, alias, found.version)
    return Registered(name=name, version=str(found.version), trial=candidate.trial, aliases=candidate.aliases, created=created)


def _tag(client: Any, name: str, found: Any, tags: Mapping[str, str]) -> None:
    for key, text in tags.items():
        if found.tags.get(str(key)) != str(text):
            client.set_model_version_tag(name, found.version, str(key), str(text))


def _log_model(client: Any, study: StudyRecord, candidate: Candidate) -> Any:
    """The logged model with the files, made unless an earlier attempt got that far."""
    from mlflow.entities import LoggedModelOutput, LoggedModelStatus, Metric

    earlier = client.search_logged_models([study.experiment_id], f"source_run_id = '{candidate.run_id}'")
    ready = [one for one in earlier if one.tags.get(_SHA) == candidate.sha256 and one.status == LoggedModelStatus.READY]
    if ready:
        return ready[0]
    model = client.create_logged_model(
        study.experiment_id, name=candidate.trial, source_run_id=candidate.run_id, model_type="onnx",
        tags={_SHA: candidate.sha256, Tag.STUDY: study.name, Tag.TRIAL: candidate.trial}, params=dict(candidate.params),
    )  # fmt: skip
    try:
        with tempfile.TemporaryDirectory(prefix="paretolens-model-") as folder:
            save(candidate, Path(folder) / "model", model_id=model.model_id)
            if candidate.twin is not None:
                shutil.copytree(candidate.twin, Path(folder) / "model" / TWIN)
            client.log_model_artifacts(model.model_id, str(Path(folder) / "model"))
        client.log_outputs(candidate.run_id, [LoggedModelOutput(model.model_id, 0)])
        now = model.creation_timestamp
        metrics = [Metric(key, value, now, 0, model_id=model.model_id) for key, value in candidate.metrics.items()]
        client.log_batch(candidate.run_id, metrics=metrics)
        client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
    except BaseException:
        client.finalize_logged_model(model.model_id, LoggedModelStatus.FAILED)
        raise
    return model


def save(candidate: Candidate, folder: Path, *, model_id: str | None = None) -> None:
    """Write a model in MLflow's format, with signature and input example.

    Raises:
        BackendError: ONNX Runtime can't run the file on the example.
    """
    import mlflow.onnx
    import onnx
    from mlflow.models import Model

    signature = _signature(candidate)
    mlflow.onnx.save_model(
        onnx.load(candidate.onnx),  # a proto of its own: saving may gut the one it is given
        str(folder),
        mlflow_model=Model(run_id=candidate.run_id, model_id=model_id),
        signature=signature,
        input_example=dict(candidate.example),
        pip_requirements=_requirements(),
        onnx_execution_providers=["CPUExecutionProvider"],
        onnx_session_options=_SESSION,
        metadata={"trial": candidate.trial, "sha256": candidate.sha256},
        save_as_external_data=False,
    )


def _signature(candidate: Candidate) -> Any:
    """What goes in and comes out, any number of samples at a time; outputs as the file really gives them."""
    import onnxruntime
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    try:
        session = onnxruntime.InferenceSession(str(candidate.onnx), providers=["CPUExecutionProvider"])
        values = session.run(None, dict(candidate.example))
    except Exception as error:  # onnxruntime's own errors share no base class
        raise BackendError(f"{candidate.onnx}: can't be run on an example ({one_line(error)}); run the trial again") from error
    outputs = dict(zip([node.name for node in session.get_outputs()], values, strict=True))

    def schema(arrays: Mapping[str, np.ndarray]) -> Any:
        return Schema([TensorSpec(array.dtype, (-1, *array.shape[1:]), name) for name, array in arrays.items()])

    return ModelSignature(inputs=schema(candidate.example), outputs=schema(outputs))


def _requirements() -> list[str]:
    """What loading needs, at the versions that it was tried with here."""
    found = []
    for library in _REQUIREMENTS:
        try:
            found.append(f"{library}=={version(library)}")
        except PackageNotFoundError:
            continue
    return found
