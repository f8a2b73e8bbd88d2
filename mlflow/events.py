"""What the driver tells the store, as values that survive on disk until the store has taken them."""

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

__all__ = ["DatasetInfo", "Event", "EventKind", "Scalar", "to_text"]

Scalar = int | float | str | bool


class EventKind(StrEnum):
    """The seven things that can be told."""

    STUDY = "study"  # find or create the parent run
    ORPHANS = "orphans"  # children still running although nobody runs them
    TRIAL = "trial"  # find or create a child run
    REPORT = "report"  # metrics and tags, in one batch
    FINISH = "finish"  # last metrics and the state
    ARTIFACTS = "artifacts"  # files
    DATASETS = "datasets"  # what the study was fed


@dataclass(frozen=True, kw_only=True)
class DatasetInfo:
    """One split of a data set, as MLflow lists it beside a run."""

    name: str
    """Name of the set."""
    digest: str
    """Hash of the content, at most 36 characters: the set's version."""
    context: str
    """What it was for: train, val, test."""
    source: str
    """Where it is kept, within the workspace."""
    profile: str = ""
    """What is in it, as JSON."""


@dataclass(frozen=True, kw_only=True)
class Event:
    """One record, written to disk before it is sent. Sending it twice leaves the store as sending it once."""

    kind: EventKind
    """What is told."""
    time_ms: int
    """When it happened, in ms since the epoch: kept when it is sent later, so that curves have no gap."""
    number: int = 0
    """Order of the events of a study; given by the spool."""
    trial: str = ""
    """Name of the trial; empty for the study itself."""
    step: int = 0
    """Step of the metrics."""
    state: str = ""
    """State of the trial or study."""
    params: dict[str, str] = field(default_factory=dict)
    """Parameters, as text."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Finite metrics."""
    tags: dict[str, str] = field(default_factory=dict)
    """Tags."""
    files: dict[str, list[str]] = field(default_factory=dict)
    """Folder within the run's artifacts → absolute paths of local files or folders."""
    datasets: list[dict[str, str]] = field(default_factory=list)
    """`DatasetInfo`s as plain values."""

    def to_json(self) -> str:
        """One line, without fields that are empty."""
        return json.dumps({key: value for key, value in asdict(self).items() if value}, ensure_ascii=False)

    @classmethod
    def from_json(cls, line: str) -> "Event":
        """Read a line back.

        Raises:
            ValueError: the line is no event, for instance cut short.
        """
        try:
            content: dict[str, Any] = json.loads(line)
            return cls(**{**content, "kind": EventKind(content["kind"])})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not an event: {line[:80]!r}") from error


def to_text(value: object) -> str:
    """A parameter or tag as MLflow keeps it: text as it is, numbers and booleans as JSON, anything else by `str`."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return json.dumps(value)
    return str(value)
