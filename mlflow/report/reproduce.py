"""How a study can be run again: its configuration, as a file, and the commands."""

import json
import re
import shlex
from collections.abc import Mapping
from typing import Any

import yaml

from paretolens.mlflow.names import Tag
from paretolens.mlflow.records import StudyRecord

__all__ = ["configuration_yaml", "reproduction_commands", "reproduction_notes", "state_line"]

_ELSEWHERE = ("tracking.", "search.address")
"""Where a study ran and where its runs are kept: no part of what is to be repeated."""


def configuration_yaml(params: Mapping[str, str]) -> str:
    """The parameters of a study's run as the YAML file that `paretolens search --config` takes; empty without parameters."""
    tree: dict[str, Any] = {}
    for key, text in sorted(params.items()):
        if not key.startswith(_ELSEWHERE):
            *groups, last = key.split(".")
            place = tree
            for group in groups:
                place = place.setdefault(group, {})
            place[last] = _value(text)
    return str(yaml.safe_dump(tree, allow_unicode=True, sort_keys=False, default_flow_style=None, width=120)) if tree else ""


def reproduction_commands(study: StudyRecord, member: str | None) -> str:
    """What to type, in a clone of the project, with the configuration in `study.yaml`; `member` is what to select."""
    name = shlex.quote(" ".join(study.name.split()))
    commit = re.search(r"\b[0-9a-f]{7,40}\b", study.tags.get("paretolens.code", "").partition(" ")[2])
    select = f" --select {shlex.quote(member)}" if member else ""
    lines = [
        f"git checkout {commit[0]}" if commit else "",
        "make setup && . .venv/bin/activate",
        f"paretolens search --name {name} --config study.yaml",
        f"paretolens report {name}" + (select if member != "knee" else ""),
        f"paretolens export {name}{select}" if member else "",
    ]
    return "\n".join(filter(None, lines))


def reproduction_notes(study: StudyRecord) -> list[str]:
    """What has to be the same, and what may differ all the same."""
    tags, params = study.tags, study.params
    notes = []
    if tags.get("paretolens.code", "").endswith("+changes"):
        notes.append("The code had changes that no commit holds: the commit named here is the one they were made on.")
    if version := tags.get("paretolens.data.version"):
        notes.append(f"The data are the same if the new run's tag paretolens.data.version is {version}.")
    if seed := params.get("seed"):
        notes.append(f"Seed {seed}: of clips' order, teacher, students and proposals.")
    if params.get("search.workers", "1") != "1":
        notes.append(
            f"{params['search.workers']} trials ran at a time. What the sampler proposes depends on which ends first, "
            "so that a second search may try other students; search.workers 1 rules that out."
        )
    if params.get("search.time_limit_s", "null") != "null":
        notes.append("A time limit ended the search: a faster or slower machine tries more or fewer students.")
    latency = tags.get("paretolens.latency_device")
    if latency:
        notes.append(f"Latencies are those of {latency}: another processor gives others, and with them perhaps another front.")
    notes.append(f"The MLflow run is {study.run_id or '–'}; its files include the list of installed packages.")
    return notes


def state_line(study: StudyRecord, complete: int) -> str:
    """How far the study came, where it isn't done; empty where it is."""
    state, planned = study.tags.get(Tag.STATE, ""), study.params.get("search.trials", "")
    count = f"{complete} of {planned} planned trials are complete" if planned else f"{complete} trials are complete"
    if state == "complete":
        return ""
    if state == "running":
        return f"This study is not finished: it was running when this was written, or was ended without notice; {count}."
    reason = study.tags.get(Tag.REASON, "")
    return f"This study is not finished: it was {state or 'stopped'}{f' ({reason})' if reason else ''}; {count}."


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
