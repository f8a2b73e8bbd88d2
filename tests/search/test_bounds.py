"""Limits: how they may be written, what they come to, what exceeds them."""

import pytest

from paretolens.errors import ConfigurationError
from paretolens.search import schema
from paretolens.search.bounds import LimitSettings, resolve, violations
from paretolens.search.config import load_config

TEACHER = {"latency_ms": 8.0, "parameters": 4e6, "macs": 4e8, "size_mb": 16.0}


def test_shares_are_of_the_teacher_and_numbers_are_taken_as_they_are() -> None:
    limits = schema.build(LimitSettings, {"latency_ms": "25 %", "size_mb": 1, "macs": "12.5%"})
    assert resolve(limits, TEACHER) == {"latency_ms": 2.0, "size_mb": 1.0, "macs": 5e7}


def test_a_violation_is_a_share_of_its_limit_and_the_limit_itself_is_allowed() -> None:
    found = violations({"latency_ms": 2.0, "size_mb": 1.0, "macs": 10.0}, {**TEACHER, "latency_ms": 3.0, "size_mb": 1.0})
    assert found == {"latency_ms": pytest.approx(0.5), "macs": pytest.approx(4e7 - 1)}


def test_limits_survive_being_stored_with_the_study() -> None:
    config = load_config(assignments=["limits.latency_ms=25%", "limits.parameters=300000"], flags={})
    assert config.limits.given == {"latency_ms": "25%", "parameters": 300000.0}
    assert schema.build(type(config), schema.to_plain(config)) == config


def test_limits_belong_to_what_makes_a_study() -> None:
    assert load_config(assignments=["limits.size_mb=1"], flags={}).identity() != load_config(flags={}).identity()


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("limits.latency=3", "limits.latency_ms"),
        ("limits.accuracy=0.9", "allowed: latency_ms, macs, parameters, size_mb"),
        ("limits.size_mb=0", "a number above 0"),
        ("limits.size_mb=-1%", "a number above 0"),
        ("limits.size_mb=.inf", "a number above 0"),
        ("limits.size_mb=true", "a number above 0"),
        ("limits.size_mb=2 MB", "such as 25%"),
    ],
)
def test_what_is_no_limit_is_named(assignment: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_config(assignments=[assignment], flags={})
    assert message in str(caught.value)
    assert "limits" in str(caught.value)
