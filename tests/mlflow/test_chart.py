import math
from dataclasses import replace

import pytest

from paretolens.mlflow.chart import (
    axis_label,
    format_value,
    half_up,
    headline,
    interval,
    panels,
    rules_of,
    speed_up,
    trial_label,
    value_kind,
)
from paretolens.mlflow.front import Front, rank_trials


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("accuracy", 0.9517, "95.2 %"),
        ("accuracy", 0.9125, "91.3 %"),
        ("latency_ms", 1.234, "1.23 ms"),
        ("latency_ms", 123.4, "123 ms"),
        ("latency_ms", 0.01234, "0.0123 ms"),
        ("eps", 0.7123, "0.712"),
        ("size_mb", 0.0, "0 MB"),
        ("parameters", 14_998_732, "15 M"),
        ("parameters", 1297, "1.3 k"),
        ("macs", 12, "12"),
        ("pruned_parameters", 364_992, "365 k"),
        ("size_mb_untrained", 0.638, "0.638 MB"),
        ("eps", math.nan, "–"),
    ],
)
def test_values_as_a_person_reads_them(name: str, value: float, text: str) -> None:
    assert format_value(name, value) == text


def test_halves_are_rounded_up_as_browsers_do() -> None:
    assert [half_up(k / 240, 3) for k in (219, 213, 240)] == ["0.913", "0.888", "1.000"]
    assert half_up(-0.0005, 3) == "-0.001"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("accuracy", "Accuracy (%)"),
        ("latency_ms", "Latency (ms)"),
        ("eps", "EPS"),
        ("my_score", "My score"),
        ("test_auc", "Test AUC"),
        ("size_mb_untrained", "Size, untrained (MB)"),
        ("macs_untrained", "MACs, untrained"),
    ],
)
def test_axis_labels(name: str, text: str) -> None:
    assert axis_label(name) == text


def test_panels_show_every_objective_against_latency(drawn: Front) -> None:
    first, second = panels(drawn)
    assert [(panel.x, panel.y, panel.log_x) for panel in (first, second)] == [
        ("latency_ms", "accuracy", True),
        ("latency_ms", "eps", True),
    ]
    assert first.rules == ()
    assert [rule.value for rule in second.rules] == [0.11, 0.83]
    assert first.teacher(drawn) == (14.7, 0.962)
    assert second.teacher(drawn) == (14.7, 1.0)
    for panel in (first, second):
        assert len(panel.joined) + len(panel.aside) + len(panel.dominated) == len(drawn.trials)
        assert panel.joined[panel.x].is_monotonic_increasing
        assert panel.joined[panel.y].is_monotonic_increasing  # stairs: slower only for better


def test_panels_of_other_objectives(drawn: Front) -> None:
    table = drawn.trials.drop(columns=["rank", "crowding", "pareto", "knee", "tied_with"])
    assert [(p.x, p.y) for p in panels(rank_trials(table, {"eps": "max", "size_mb": "min"}))] == [("size_mb", "eps")]
    assert [(p.x, p.y, p.log_x) for p in panels(rank_trials(table, {"eps": "max", "accuracy": "max"}))] == [
        ("accuracy", "eps", False)
    ]
    assert [(p.x, p.y) for p in panels(rank_trials(table, {"latency_ms": "min"}))] == [("latency_ms", "latency_ms")]
    assert len(panels(rank_trials(table.iloc[:0]))) == 2


def test_floor_and_reference_on_every_axis_of_eps(drawn: Front) -> None:
    table = drawn.trials.drop(columns=["rank", "crowding", "pareto", "knee", "tied_with"])
    table["neps"] = (table["eps"] - 0.11) / 0.89
    (sideways,) = panels(replace(rank_trials(table, {"accuracy": "max", "eps": "max"}), study=drawn.study))
    assert (sideways.x, sideways.rules) == ("eps", ())
    assert [rule.value for rule in sideways.x_rules] == [0.11, 0.83]
    (scaled,) = panels(replace(rank_trials(table, {"latency_ms": "min", "neps": "max"}), study=drawn.study))
    assert [rule.value for rule in scaled.rules] == [0.0, pytest.approx((0.83 - 0.11) / 0.89)]
    assert scaled.x_rules == ()
    band = rules_of({"eps_floor": 0.2, "eps_reference": 0.6, "eps_reference_low": 0.5, "eps_reference_high": 0.7}, "neps")[1]
    assert (band.low, band.value, band.high) == pytest.approx((0.375, 0.5, 0.625))
    assert rules_of({}, "eps") == ()
    assert rules_of({"eps_reference": 0.6}, "neps") == (), "without a floor nEPS has no scale"
    assert rules_of({"eps_floor": 0.1}, "accuracy") == ()


def test_the_headline_names_the_knee(drawn: Front) -> None:
    assert drawn.knee is not None
    assert speed_up(drawn, {"latency_ms": 1.47}) == pytest.approx(10)
    assert f"knee: trial {drawn.knee['trial']}" in headline(drawn)[1].lower()


@pytest.mark.parametrize(
    ("name", "kind"),
    [("test_accuracy", "share"), ("eps_low", "score"), ("macs", "count"), ("latency_ms", "quantity"), ("parity_max", "quantity")],
)
def test_kinds_of_values(name: str, kind: str) -> None:
    assert value_kind(name) == kind


def test_error_bars(drawn: Front) -> None:
    below, above = interval(drawn.members, "accuracy") or ((), ())
    assert below == pytest.approx([0.018] * len(drawn.members))
    assert above == pytest.approx([0.016] * len(drawn.members))
    assert interval(drawn.members, "latency_ms") is None


@pytest.mark.parametrize(("name", "label"), [("trial-0003", "3"), ("trial-0000", "0"), ("17", "17"), ("seeded", "seeded")])
def test_trial_labels(name: str, label: str) -> None:
    assert trial_label(name) == label
