"""What every report of a trial holds, whatever the stage."""

from collections.abc import Mapping

import pytest

from paretolens.search.curve import Curve


def test_epochs_are_counted_over_all_stages_and_costs_are_repeated() -> None:
    seen: list[Mapping[str, float]] = []
    curve = Curve(seen.append, epochs=3, constants={"cheap_latency_ms": 1.5})
    curve({"epoch": 1.0, "epochs": 2.0, "distill_loss": 0.7, "distill_val_accuracy": 0.75})
    curve({"epoch": 2.0, "epochs": 2.0, "distill_loss": 0.6, "distill_val_accuracy": 1.0})
    curve({"epoch": 1.0, "epochs": 1.0, "qat_loss": 0.5, "qat_val_accuracy": 0.5, "progress_eps": 0.3})
    assert [entry["progress_epoch"] for entry in seen] == [1.0, 2.0, 3.0]
    assert [entry["progress_error"] for entry in seen] == pytest.approx([0.25, 0.0, 0.5])
    assert all(entry["cheap_latency_ms"] == 1.5 and entry["progress_epochs"] == 3.0 for entry in seen)
    assert (seen[2]["epoch"], seen[2]["qat_loss"], seen[2]["progress_eps"]) == (1.0, 0.5, 0.3)


def test_a_stop_by_the_receiver_goes_through() -> None:
    def stop(figures: Mapping[str, float]) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        Curve(stop, epochs=1, constants={})({"epoch": 1.0})
