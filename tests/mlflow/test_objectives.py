import numpy as np
import pandas as pd
import pytest

from paretolens.errors import ConfigurationError
from paretolens.mlflow.objectives import check_objectives, parse_objectives, usual_direction
from paretolens.mlflow.pareto import minimised


@pytest.mark.parametrize(
    ("name", "direction"),
    [
        ("accuracy", "max"),
        ("test_accuracy", "max"),
        ("eps", "max"),
        ("auc", "max"),
        ("latency_ms", "min"),
        ("size_mb", "min"),
        ("parameters", "min"),
        ("macs", "min"),
        ("eer", "min"),
        ("peak_memory_mb", "min"),
        ("quiet_p50_ms", "min"),
        ("my_score", None),
        ("macro_f1", "max"),  # no word of it is `mac`
    ],
)
def test_direction_by_name(name: str, direction: str | None) -> None:
    assert usual_direction(name) == direction


# Every metric that a trial of the default study logs.
LARGER = """accuracy agreement auc average_precision f1 precision recall insertion_auc logit_correlation neps pointing_hit
pointing_hit_video pointing_hit_untrained parity_decision_agreement twin_agreement true_mask_iou true_mask_iou_video test_accuracy
test_auc test_auc_blend test_auc_mouth test_auc_shift test_auc_voice test_average_precision test_f1 test_precision test_recall
unseen_accuracy unseen_auc unseen_average_precision unseen_f1 unseen_precision unseen_recall eps eps_audio eps_audio_iou
eps_audio_rho eps_iou eps_rho eps_pixel eps_pixel_audio eps_pixel_audio_iou eps_pixel_audio_rho eps_pixel_video
eps_pixel_video_iou eps_pixel_video_rho eps_second eps_second_iou eps_second_rho eps_second_video eps_second_video_iou
eps_second_video_rho eps_video eps_video_iou eps_video_rho on_litert_1t_accuracy"""
SMALLER = """brier deletion_auc ece eer latency_ms latency_ms_untrained latency_cpu_min_ms latency_p50_ms latency_p90_ms
latency_p99_ms macs macs_untrained parameters parameters_untrained parity_max_difference twin_max_difference pruned_macs
pruned_parameters quiet_ms quiet_p50_ms quiet_p90_ms quiet_p99_ms size_mb size_mb_untrained seconds seconds_cheap seconds_distill
seconds_export seconds_prune seconds_qat seconds_score test_brier test_ece test_eer unseen_brier unseen_ece unseen_eer
eps_degenerate eps_excluded eps_unconverged eps_unconverged_share eps_teacher_unconverged eps_second_degenerate
eps_second_excluded eps_second_unconverged eps_second_unconverged_share eps_second_teacher_unconverged peak_memory_mb
process_memory_mb on_onnxruntime_cpu_1t_p50_ms on_litert_int8_4t_size_mb"""
NEITHER = """eps_eligible eps_audio_samples eps_video_samples eps_pixel_audio_samples eps_second_eligible pointing_chance
pointing_chance_video pointing_samples_audio pointing_samples_video latency_calibration_ms latency_context_switches
latency_load_average latency_runs quiet_load_average reused_stages seconds_saved"""


@pytest.mark.parametrize(("names", "direction"), [(LARGER, "max"), (SMALLER, "min"), (NEITHER, None)])
def test_every_logged_metric(names: str, direction: str | None) -> None:
    assert {name: usual_direction(name) for name in names.split()} == dict.fromkeys(names.split(), direction)


def test_a_cost_among_the_merits_can_be_minimised() -> None:
    assert parse_objectives("deletion_auc,eps_unconverged_share:min") == {"deletion_auc": "min", "eps_unconverged_share": "min"}
    with pytest.raises(ConfigurationError, match=r"smaller is better.*deletion_auc:min"):
        parse_objectives("deletion_auc:max")


def test_parse() -> None:
    assert parse_objectives("accuracy, size_mb,my_score:min") == {"accuracy": "max", "size_mb": "min", "my_score": "min"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "at least one"),
        ("accuracy:up", "max or min, got 'up'"),
        ("accuracy:min", "larger is better.*accuracy:max"),
        ("latency_ms:max", "smaller is better"),
    ],
)
def test_wrong_objectives(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_objectives(text)


def test_unknown_metric_names_the_nearest_and_asks_for_no_direction() -> None:
    with pytest.raises(ConfigurationError, match="did you mean latency_ms"):
        check_objectives({"latancy_ms": "min"}, columns=["accuracy", "latency_ms"])
    with pytest.raises(ConfigurationError, match="no trial has that metric; there are: accuracy"):
        check_objectives(parse_objectives("zzz"), columns=["accuracy"])
    with pytest.raises(ConfigurationError, match="lists all") as caught:
        check_objectives({"zzz": ""}, columns=[f"metric_{number}" for number in range(300)])
    assert len(str(caught.value)) < 250


def test_a_direction_that_no_name_says_is_asked_for() -> None:
    assert parse_objectives("my_score") == {"my_score": ""}
    with pytest.raises(ConfigurationError, match="my_score:max or my_score:min"):
        check_objectives({"my_score": ""}, columns=["my_score"])


def test_minimised_turns_what_is_maximised() -> None:
    frame = pd.DataFrame({"accuracy": [0.9, None], "latency_ms": [3, 4]})
    np.testing.assert_array_equal(minimised(frame, {"latency_ms": "min", "accuracy": "max"}), [[3, -0.9], [4, np.nan]])
