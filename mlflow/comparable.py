"""Whether the figures of several studies were measured alike, so that they may share a picture.

A latency means something on one runtime and device, an accuracy on one set of clips, an EPS against one teacher's maps under one
set of settings. What a study was measured with is kept as parameters and tags of its parent run.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from paretolens.errors import ConfigurationError
from paretolens.mlflow.names import ELSEWHERE, Tag
from paretolens.mlflow.records import StudyRecord, study_labels

__all__ = ["Difference", "configuration_differences", "differences", "require_comparable"]

_LATENCY = ("latency.batch", "latency.threads", "tag:latency_backend", "tag:latency_device")
_DATA = ("data.", "tag:data")
_TEACHER = ("seed", "family", "model.", "teacher.")
_OF_THE_MODEL_ALONE = ("parameters", "macs", "size", "pruned")
_FREE = ("search.trials", "search.workers", "search.address", "tracking.", "search.time_limit_s", "search.cpus_per_worker")
_UNKNOWN = "not recorded"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One thing that studies differ in."""

    key: str
    """Parameter of the parent run, or a tag's name."""
    values: tuple[str, ...]
    """Value in each study, in their order."""

    def __str__(self) -> str:
        return f"{self.key} is {' / '.join(value[:60] for value in self.values)}"


def differences(records: Sequence[StudyRecord], objective: str) -> list[Difference]:
    """What keeps an objective from being compared across studies; empty if nothing."""
    stem = objective.split("_", maxsplit=1)[0]
    if stem in _OF_THE_MODEL_ALONE:
        return []
    if stem in ("latency", "quiet"):
        return _differing(records, _LATENCY)
    if stem in ("eps", "neps"):
        return _differing(records, (*_DATA, *_TEACHER, "eps."))
    if elsewhere := ELSEWHERE.fullmatch(objective):
        place = f"tag:on.{elsewhere['label']}"
        return _differing(records, (place,) if elsewhere["figure"].endswith("_ms") else (*_DATA, place))
    return _differing(records, _DATA)


def require_comparable(records: Sequence[StudyRecord], objectives: Iterable[str]) -> None:
    """Make sure that studies may be held against each other.

    Raises:
        ConfigurationError: an objective was measured differently; says how, and what can be compared.
    """
    names = list(objectives)
    found = {name: differences(records, name) for name in names}
    wrong = {name: differing for name, differing in found.items() if differing}
    if not wrong:
        return
    reasons = "; ".join(f"{name}, since {_few(differing)}" for name, differing in wrong.items())
    left = [name for name in names if name not in wrong]
    instead = f"compare the rest with --objectives {','.join(left)}, or" if left else "compare another objective, or"
    raise ConfigurationError(
        f"studies {', '.join(study_labels(records))} can't be compared on {reasons}; "
        f"{instead} everything all the same with --force"
    )


def configuration_differences(records: Sequence[StudyRecord]) -> list[Difference]:
    """Every parameter of the studies that differs, and the versions of code and libraries; budget and store left out."""
    tags = ("tag:code", "tag:data", "tag:latency_backend", "tag:latency_device", "tag:env.")
    return [
        difference
        for difference in _differing(records, ("",)) + _differing(records, tags)
        if not difference.key.startswith(_FREE)
    ]


def _differing(records: Sequence[StudyRecord], wanted: tuple[str, ...]) -> list[Difference]:
    """Values that differ, by keys or by beginnings of keys (those that end in a dot, or are empty)."""
    known = [_described(record) for record in records]
    keys = sorted({key for own in known for key in own if any(_matches(key, pattern) for pattern in wanted)})
    values = {key: tuple(own.get(key, _UNKNOWN) for own in known) for key in keys}
    return [Difference(key=key.removeprefix("tag:"), values=own) for key, own in values.items() if len(set(own)) > 1]


def _matches(key: str, pattern: str) -> bool:
    if pattern == "":
        return not key.startswith("tag:")
    return key.startswith(pattern) if pattern.endswith(".") or pattern == "tag:data" else key == pattern


def _described(record: StudyRecord) -> dict[str, str]:
    prefix = Tag.STUDY.removesuffix("study")
    return {**record.params, **{f"tag:{key.removeprefix(prefix)}": text for key, text in record.tags.items()}}


def _few(found: Sequence[Difference]) -> str:
    more = f" and {len(found) - 3} more differ" if len(found) > 3 else ""
    return ", ".join(map(str, found[:3])) + more
