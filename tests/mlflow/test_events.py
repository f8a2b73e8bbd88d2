import json

import pytest

from paretolens.mlflow.events import Event, EventKind, to_text


def test_an_event_survives_as_a_line() -> None:
    event = Event(
        kind=EventKind.FINISH,
        time_ms=5,
        number=3,
        trial="7",
        state="failed",
        metrics={"accuracy": 0.1 + 0.2, "eps": 0.0},
        tags={"paretolens.reason": "loss ≠ finite\nsecond line"},
        files={"": ["/a"], "maps": ["/b", "/c"]},
    )
    line = event.to_json()
    assert "\n" not in line
    assert Event.from_json(line) == event


@pytest.mark.parametrize(
    "line", ["", "{", '{"kind": "trial"', "[]", "3", "null", '{"kind": "dance", "time_ms": 1}', '{"time_ms": 1}']
)
def test_a_line_that_is_no_event(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Event.from_json(line)


def test_text_of_values() -> None:
    assert [to_text(value) for value in ("a", 1, 0.5, True, None)] == ["a", "1", "0.5", "true", "None"]
    assert json.loads(to_text(1e-12)) == 1e-12
