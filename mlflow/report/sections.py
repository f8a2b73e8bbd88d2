"""The report's sections, each a list of Markdown blocks."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from paretolens.exporters.card import GENERAL_LIMITS
from paretolens.mlflow.chart import format_knob, knobs, speed_up, trial_label
from paretolens.mlflow.compare import tried_values
from paretolens.mlflow.confidence import levels_told
from paretolens.mlflow.front import Front
from paretolens.mlflow.names import EPS_FLOOR, EPS_REFERENCE, Tag, interval_names
from paretolens.mlflow.records import StudyRecord
from paretolens.mlflow.report.figures import cell, label, named_members, shown_figures, trial_title
from paretolens.mlflow.report.markdown import bullets, code, escape, fenced, heading, table
from paretolens.mlflow.report.reproduce import configuration_yaml, reproduction_commands, reproduction_notes
from paretolens.mlflow.runs import PARAM_PREFIX

__all__ = ["baseline", "chosen", "comparison", "limits", "members", "reproduce", "setting", "teacher_figures"]


_DATA = (("train", "training"), ("val", "validation"), ("test", "test"), ("unseen", "unseen kind of fake"))


_EXPLAINED = (("eps.explainer", ""), ("eps.nodes", " nodes"), ("eps.samples", " clips"), ("eps.population", ""))
_EPOCHS = (
    ("student.distill.epochs", "distilled"),
    ("student.repair.epochs", "repaired after pruning"),
    ("student.qat.epochs", "quantisation-aware"),
)
_HOW_TO_READ = (
    "A member is a trial that no other equals in all objectives and beats in one. ◆ is the knee; brackets hold {levels} "
    "intervals; ≈ marks members that their intervals do not tell apart from another that would beat them."
)
_KNEE = (
    "It is the knee: the member closest to the best of everything that the front offers, among those that give up no more than "
    "half of any one objective."
)
_LUCK = (
    "looks better than it is on the clips that it was chosen by: go by the test figures. Each student was trained once; with "
    "another seed it would score a little differently."
)
_FAITHFUL = (
    "EPS says that a student's explanations are the teacher's, not that they are right. Insertion, deletion and the pointing "
    "game, where they were measured, say more about that."
)
_HOW = (("latency.batch", "clip at a time"), ("latency.threads", "thread"))


def setting(front: Front, study: StudyRecord) -> list[str]:
    """Task, data, space, budget, device and versions."""
    facts = [(name, text) for name, text in (*_task(study), *_budget(front, study), *_machine(study)) if text]
    tried = [
        (str(name).removeprefix(PARAM_PREFIX), tried_values(study.trials, str(name)))
        for name in study.trials
        if str(name).startswith(PARAM_PREFIX)
    ]
    blocks = [heading("Setting"), table(("", ""), [(escape(name), escape(text)) for name, text in facts], numbers=False)]
    if tried:
        rows = [(code(name), escape(text)) for name, text in tried]
        blocks += [
            heading("What varied", 3),
            "The knobs of a student, and the values that were tried.",
            table(("knob", "tried"), rows),
        ]
    return blocks


_BUILT_IN = {"generated": "built-in generated clips", "generated-pictures": "built-in generated pictures"}


def _task(study: StudyRecord) -> list[tuple[str, str]]:
    params, tags = study.params, study.tags
    named = tags.get("paretolens.data", "")
    data = _BUILT_IN.get(named, named)
    version = tags.get("paretolens.data.version")
    counts = [f"{params[f'data.{key}']} {words}" for key, words in _DATA if params.get(f"data.{key}", "").isdigit()]
    explained = [f"{params[key]}{words}" for key, words in _EXPLAINED if key in params]
    return [
        ("family", tags.get("paretolens.family", params.get("family", ""))),
        ("data", f"{data}, version {version}" if version else data),
        ("pictures" if named == "generated-pictures" else "clips", ", ".join(counts)),
        ("objectives", tags.get(Tag.OBJECTIVES, "")),
        ("explanations", ", ".join(explained)),
    ]


def _budget(front: Front, study: StudyRecord) -> list[tuple[str, str]]:
    params = study.params
    epochs = [f"{params[key]} {words}" for key, words in _EPOCHS if key in params]
    sampler = ", ".join(filter(None, (params.get("search.sampler"), _unless_none(params.get("search.scheduler")))))
    counted = [f"{len(front.trials)} complete"]
    if len(front.excluded):
        counted += [f"{count} {why}" for why, count in front.excluded["why"].value_counts().items()]
    return [
        (
            "trials",
            f"{', '.join(counted)}; {params['search.trials']} planned" if "search.trials" in params else ", ".join(counted),
        ),
        ("sampler", sampler),
        ("epochs of a student", ", ".join(epochs)),
        ("trials at a time", params.get("search.workers", "")),
        ("time", _duration(study.trials)),
        ("seed", params.get("seed", "")),
    ]


def _unless_none(text: str | None) -> str:
    return "" if text in (None, "none") else str(text)


def _duration(trials: pd.DataFrame) -> str:
    times = trials[["started_ms", "run_seconds"]].apply(pd.to_numeric, errors="coerce").dropna()
    if not len(times):
        return ""
    first = float(times["started_ms"].min())
    seconds = float((times["started_ms"] + 1000 * times["run_seconds"]).max() - first) / 1000
    begun = datetime.fromtimestamp(first / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"first trial {begun}, the last ended {seconds / 60:.1f} min later"


def _machine(study: StudyRecord) -> list[tuple[str, str]]:
    tags, params = study.tags, study.params
    own = {key.removeprefix("paretolens.env."): text for key, text in tags.items() if key.startswith("paretolens.env.")}
    cores = own.pop("cores", "")
    system = ", ".join(filter(None, (own.pop("system", ""), f"{cores} cores" if cores else "")))
    latency = " on ".join(filter(None, (tags.get("paretolens.latency_runtime"), tags.get("paretolens.latency_device"))))
    how = [f"{params[key]} {words}" for key, words in _HOW if key in params]
    return [
        ("latency", ", ".join(filter(None, (latency, *how)))),
        ("machine", system),
        ("code", f"paretolens {tags['paretolens.code']}" if "paretolens.code" in tags else ""),
        ("versions", ", ".join(f"{name} {text}" for name, text in sorted(own.items()))),
    ]


def baseline(study: StudyRecord, front: Front) -> list[str]:
    """What the teacher scores and costs."""
    figures = teacher_figures(study)
    blocks = [heading("The teacher")]
    if not figures:
        return [*blocks, "The teacher was not measured before the study ended."]
    rows = [(label(name), cell(figures, name)) for name in shown_figures(front, figures)]
    text = "What every student is held against. Its EPS is 1 by definition."
    return [*blocks, text, table(("", "teacher"), rows), *_lines_of_eps(study)]


def teacher_figures(study: StudyRecord) -> dict[str, float]:
    """The teacher's figures by the trials' metric names, its EPS with them; empty if it wasn't measured."""
    return {"eps": 1.0, **study.teacher} if study.teacher else {}


def _lines_of_eps(study: StudyRecord) -> list[str]:
    lines = []
    if EPS_FLOOR in study.metrics:
        lines.append(f"Floor: untrained students score an EPS of {study.metrics[EPS_FLOOR]:.3f}; one as low explains nothing.")
    if EPS_REFERENCE in study.metrics:
        lines.append(f"Reference: the teacher, trained again, scores {study.metrics[EPS_REFERENCE]:.3f} against itself.")
    return [" ".join(lines)] if lines else []


def members(front: Front) -> list[str]:
    """The members of the front with their intervals, and what was left out."""
    found = front.members
    blocks = [heading("The Pareto front")]
    if not len(found):
        return [*blocks, "No trial is complete yet: there is no front."]
    beside = [name for name in ("size_mb", "test_auc") if name in found and name not in front.objectives]
    figures = [*front.objectives, *beside]
    teacher = bool(front.study and front.study.teacher.get("latency_ms"))
    head = ("trial", *(label(name) for name in figures), *(("faster",) if teacher else ()))
    rows = []
    for row in found.to_dict("records"):
        mark = " ◆" if row["knee"] else " ≈" if row["tied_with"] else ""
        times = (f"{speed_up(front, row):.1f}×",) if teacher else ()
        rows.append((escape(trial_label(row["trial"])) + mark, *(cell(row, name) for name in figures), *times))
    share = f"The front dominates {front.hypervolume():.1%} of the box between the best and the worst value of each objective."
    picture = "![The front][front]"
    how = _HOW_TO_READ.format(levels=_levels(front))
    return [*blocks, picture, how, table(head, rows), share + _found(front), *map(escape, front.notes)]


def _levels(front: Front) -> str:
    spread = [name for name in front.objectives if interval_names(name)[0] in front.trials]
    return escape(levels_told(front.study.params if front.study else {}, spread))


def _found(front: Front) -> str:
    """When the members were found."""
    attained = front.history()["attained"].to_numpy(dtype=float)
    half, whole = (int((attained < share).sum()) + 1 for share in (0.5, 1 - 1e-9))
    return f" Half of its members were found by the {_nth(half)} trial that was completed, all by the {_nth(whole)}."


def _nth(number: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th") if number % 100 not in (11, 12, 13) else "th"
    return f"{number}{ending}"


def chosen(row: "pd.Series[Any]") -> list[str]:
    """The model that the report is about: why it, what it is made of."""
    why = _KNEE if row["knee"] else "It was chosen by name."
    rivals = ", ".join(escape(trial_label(name)) for name in str(row["tied_with"]).split(", ") if name)
    tied = f" Its intervals do not tell it apart from trial {rivals}, which would beat it." if rivals else ""
    blocks = [heading("The chosen model"), f"**{trial_title(row).capitalize()}**. {why}{tied}"]
    own = knobs(row.to_dict())
    if own:
        rows = [(code(name), escape(format_knob(value))) for name, value in own.items()]
        blocks.append(table(("knob", "value"), rows, numbers=False))
    return blocks


def comparison(front: Front, study: StudyRecord, row: "pd.Series[Any]") -> list[str]:
    """The teacher beside the chosen model and the front's other choices."""
    named = named_members(front, row)
    columns: list[Mapping[Any, Any]] = [teacher_figures(study), *(member.to_dict() for _, member in named)]
    head = ("", "teacher", *(f"{trial_title(member)} ({escape(names)})" for names, member in named))
    rows = [(label(name), *(cell(values, name) for values in columns)) for name in shown_figures(front, *columns)]
    ratios = [("faster than the teacher", "latency_ms"), ("smaller than the teacher", "size_mb")]
    rows += [
        (words, "", *(_times(columns[0].get(name), values.get(name)) for values in columns[1:]))
        for words, name in ratios
        if columns[0].get(name)
    ]
    text = "Figures of the test clips and of the unseen kind played no part in the choice. Brackets hold intervals."
    return [heading("Compared"), text, table(head, rows)]


def limits(front: Front, study: StudyRecord, given: Sequence[str]) -> list[str]:
    """What the result is not good for."""
    own = [*given, *GENERAL_LIMITS]
    device, runtime = (study.tags.get(f"paretolens.latency_{key}") for key in ("device", "runtime"))
    if device:
        own.append(f"Latencies hold for {runtime} on {device}: elsewhere they are others, and perhaps the front too.")
    if len(front.trials):
        own.append(f"The best of {len(front.trials)} trials {_LUCK}")
    own.append(_FAITHFUL)
    return [heading("Limits of use"), bullets([escape(text) for text in own])]


def reproduce(study: StudyRecord, row: "pd.Series[Any] | None") -> list[str]:
    """Commands, versions and the whole configuration."""
    configuration = configuration_yaml(study.params)
    member = None if row is None else "knee" if row["knee"] else str(row["trial"])
    blocks = [
        heading("How to reproduce it"),
        "In a clone of the project:",
        fenced(reproduction_commands(study, member), "sh"),
        bullets([escape(note) for note in reproduction_notes(study)]),
    ]
    if not configuration:
        return [*blocks, "The store holds no configuration of this study."]
    return [*blocks, "`study.yaml`, the whole configuration:", fenced(configuration, "yaml")]


def _times(teacher: Any, own: Any) -> str:
    return f"{float(teacher) / float(own):.1f}×" if teacher and own and float(own) > 0 else "–"
