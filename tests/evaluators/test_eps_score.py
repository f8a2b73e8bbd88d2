import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from scipy.stats import spearmanr
from torch import Tensor, nn

from paretolens.errors import BackendError, ConfigurationError, DataError, TrialError
from paretolens.evaluators.eps import (
    EpsSettings,
    ExplainedSet,
    TeacherReference,
    floor,
    normalised,
    paired_difference,
    score_eps,
)
from paretolens.models.signature import Detection

Make = Callable[[int], nn.Module]


class Rescaled(nn.Module):
    """The same verdicts on another scale: logit · 5 − 2 · shift."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> Detection:
        found = self.model(*inputs)
        return Detection(5.0 * found.logit - 2.0, found.offset, found.attention)


def test_identity_scores_one(tiny_detector: Make, tiny_reference: TeacherReference) -> None:
    score = score_eps(tiny_detector(0), tiny_reference)
    assert score.eps == pytest.approx(1.0, abs=1e-9)
    assert score.pixel == pytest.approx(1.0, abs=1e-9)
    assert score.agreement_explained == 1.0
    assert score.logit_correlation == pytest.approx(1.0)
    assert (score.eligible, score.excluded) == (int(tiny_reference.eligible.sum()), 24 - int(tiny_reference.eligible.sum()))


def test_rescaling_the_logit_changes_nothing(tiny_detector: Make, tiny_reference: TeacherReference) -> None:
    score = score_eps(Rescaled(tiny_detector(0)), tiny_reference)
    assert score.eps == pytest.approx(1.0, abs=2e-3)  # float rounding swaps neighbouring ranks
    assert score.pixel == pytest.approx(1.0, abs=5e-3)


def plain_recipe(teacher: nn.Module, student: nn.Module, explained: ExplainedSet, settings: EpsSettings) -> list[float]:
    """Captum and SciPy, sample by sample, modality by modality, written from the definition."""
    scores = []
    for row in range(len(explained)):
        video, audio, video_mask, audio_mask = (x[row : row + 1] for x in explained.inputs)
        maps, logit, shares = [], 0.0, []
        for model in (teacher.eval(), student.eval()):
            explainer = CaptumIntegratedGradients(lambda v, a, vm, am, m=model: m(v, a, vm, am).logit[:, 0])
            found, delta = explainer.attribute(
                (video, audio),
                (explained.baseline[0], explained.baseline[1]),
                additional_forward_args=(video_mask, audio_mask),
                n_steps=settings.nodes,
                return_convergence_delta=True,
            )
            if model is teacher:
                logit = float(model(video, audio, video_mask, audio_mask).logit.detach())
                change = float(sum(a.sum() for a in found) - delta)
                shares = [abs(float(a.sum())) / abs(change) for a in found]
            sign = 1.0 if logit > 0 else -1.0
            seen = (sign * found[0][0].sum(1)).clamp_min(0)[~video_mask[0]]
            heard = (sign * found[1][0]).clamp_min(0)[~audio_mask[0]]
            cells = seen.unfold(1, 4, 4).unfold(2, 4, 4).mean((-1, -2))
            pooled = torch.stack([heard[i : i + 4].mean(0) for i in range(0, len(heard), 4)])
            maps.append([cells.flatten().detach().numpy(), pooled.flatten().detach().numpy()])
        values = []
        for a, b, share in zip(*maps, shares, strict=True):
            if share < settings.gate:
                continue
            k = round(settings.top_share * len(a))
            top = [{i for i in np.argsort(-x, kind="stable")[:k] if x[i] > 0} for x in (a, b)]
            values.append(0.5 * spearmanr(a, b).statistic + 0.5 * len(top[0] & top[1]) / len(top[0] | top[1]))
        scores.append(float(np.mean(values)))
    return scores


def test_score_equals_captum_and_scipy(tiny_detector: Make, tiny_explained: ExplainedSet, tiny_settings: EpsSettings) -> None:
    settings = dataclasses.replace(tiny_settings, probes=0, doublings=0, change_share=0.0)
    teacher, student = tiny_detector(0), tiny_detector(1)
    reference = TeacherReference.compute(teacher, tiny_explained, settings)
    score = score_eps(student, reference)
    expected = plain_recipe(teacher, student, tiny_explained, settings)
    np.testing.assert_allclose(score.samples.eps, expected, rtol=0, atol=1e-5)
    assert score.eps == pytest.approx(float(np.mean(expected)), abs=1e-5)


def test_modality_below_the_gate_is_left_out(
    tiny_detector: Make, tiny_explained: ExplainedSet, tiny_settings: EpsSettings
) -> None:
    teacher = tiny_detector(0)
    with torch.no_grad():
        teacher.head[1].weight[:, 8:] *= 1e-4  # type: ignore[index, union-attr, operator]  # the sound hardly matters
    reference = TeacherReference.compute(teacher, tiny_explained, tiny_settings)
    score = score_eps(tiny_detector(1), reference)
    assert score.modalities["audio"].samples == 0
    assert np.isnan(score.modalities["audio"].eps)
    assert score.eps == pytest.approx(score.modalities["video"].eps)
    assert "eps_audio" not in score.metrics()
    assert np.isnan(score.samples.rho[:, 1]).all()


def test_metrics_are_flat_finite_floats(tiny_detector: Make, tiny_reference: TeacherReference) -> None:
    score = score_eps(tiny_detector(1), tiny_reference, floor=0.05)
    metrics = score.metrics()
    assert all(type(value) is float and np.isfinite(value) for value in metrics.values())
    for name in ("eps", "eps_low", "eps_high", "neps", "eps_pixel", "eps_video_rho", "eps_audio_iou", "agreement_explained"):
        assert name in metrics
    assert metrics["eps_low"] <= metrics["eps"] <= metrics["eps_high"]
    assert score.record()["settings"]["baseline"] == "real"


def test_limit_scores_the_first_eligible_samples(tiny_detector: Make, tiny_reference: TeacherReference) -> None:
    whole, part = score_eps(tiny_detector(1), tiny_reference), score_eps(tiny_detector(1), tiny_reference, limit=4)
    assert part.eligible == 4
    rows = np.flatnonzero(~np.isnan(part.samples.eps))
    np.testing.assert_allclose(part.samples.eps[rows], whole.samples.eps[rows], atol=1e-6)


def test_blocks_and_chunks_do_not_matter(
    tiny_detector: Make, tiny_reference: TeacherReference, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = score_eps(tiny_detector(1), tiny_reference)
    monkeypatch.setattr("paretolens.evaluators.eps.score.BLOCK", 5)
    parts = score_eps(tiny_detector(1), tiny_reference, dataclasses.replace(tiny_reference.settings, chunk=3))
    np.testing.assert_allclose(parts.samples.eps, whole.samples.eps, atol=1e-3)
    assert parts.eps == pytest.approx(whole.eps, abs=1e-4)


def test_floor_and_normalised_score(tiny_detector: Make, tiny_reference: TeacherReference) -> None:
    found = floor(tiny_detector, [11, 12, 13], tiny_reference)
    assert found.mean == pytest.approx(np.mean(found.values))
    assert found.mean < 0.5
    assert found.standard_error > 0
    assert score_eps(tiny_detector(0), tiny_reference, floor=found.mean).neps == pytest.approx(1.0)
    assert normalised(0.6, 0.2) == pytest.approx(0.5)
    assert normalised(0.1, 0.2) == 0.0
    with pytest.raises(ConfigurationError, match="at least 3 different seeds"):
        floor(tiny_detector, [1, 1, 2], tiny_reference)


def test_candidates_are_compared_in_pairs(tiny_detector: Make, tiny_reference: TeacherReference) -> None:
    a, b = score_eps(tiny_detector(0), tiny_reference), score_eps(tiny_detector(1), tiny_reference)
    assert not paired_difference(a.samples.eps, b.samples.eps, a.samples.groups).tied
    assert paired_difference(a.samples.eps, a.samples.eps, a.samples.groups).tied


def test_weight_noise_lowers_the_score_step_by_step(tiny_detector: Make, tiny_reference: TeacherReference) -> None:
    scores = []
    for noise in (0.0, 0.05, 0.3, 2.0):
        student = tiny_detector(0)
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for weight in student.parameters():
                weight.add_(noise * weight.abs().mean() * torch.randn(weight.shape, generator=generator))
        scores.append(score_eps(student, tiny_reference).eps)
    assert scores == sorted(scores, reverse=True)
    assert scores[0] - scores[-1] > 0.3


class Flat(nn.Module):
    """Depends on its inputs in name only."""

    def forward(self, video: Tensor, audio: Tensor, video_mask: Tensor, audio_mask: Tensor) -> Tensor:
        return 0.0 * video.flatten(1).sum(1) + 0.0 * audio.flatten(1).sum(1) + 1.0


def test_constant_student_is_an_error(tiny_reference: TeacherReference) -> None:
    with pytest.raises(TrialError, match="of the student's explanation maps that were compared are constant"):
        score_eps(Flat(), tiny_reference)


def test_teacher_without_eligible_samples(tiny_explained: ExplainedSet, tiny_settings: EpsSettings, tiny_detector: Make) -> None:
    with pytest.raises(DataError, match="leaves the baseline's: none of 24"):
        TeacherReference.compute(Flat(), tiny_explained, tiny_settings)
    timid = tiny_detector(0)
    with torch.no_grad():
        timid.head[3].bias -= 100.0  # type: ignore[index, union-attr, operator]
    with pytest.raises(DataError, match="none of 24 explained samples is one"):
        TeacherReference.compute(timid, tiny_explained, EpsSettings(nodes=4, probes=4))


def test_teacher_with_constant_maps(tiny_explained: ExplainedSet, tiny_settings: EpsSettings) -> None:
    class Even(nn.Module):
        """Every frame's every pixel gets the same attribution, the sound none."""

        def forward(self, video: Tensor, audio: Tensor, video_mask: Tensor, audio_mask: Tensor) -> Tensor:
            return video.flatten(1).mean(1) * 5.0

    explained = dataclasses.replace(
        tiny_explained, inputs=(torch.ones_like(tiny_explained.inputs[0]), *tiny_explained.inputs[1:])
    )
    with pytest.raises(DataError, match="every explanation map of the teacher is constant"):
        TeacherReference.compute(Even(), explained, tiny_settings)


def test_teacher_whose_modalities_all_miss_the_gate(tiny_detector: Make, tiny_reference: TeacherReference) -> None:
    reference = dataclasses.replace(tiny_reference, sums=0.0 * tiny_reference.sums)
    with pytest.raises(DataError, match=r"no modality carries 0\.1 of the teacher's change"):
        reference.check()
    with pytest.raises(DataError, match=r"no modality of the teacher's reaches eps\.gate 0\.1"):
        score_eps(tiny_detector(1), reference, limit=4)


def test_flat_maps_of_the_teacher_are_not_blamed_on_the_student(tiny_detector: Make, tiny_reference: TeacherReference) -> None:
    flat = {
        name: dataclasses.replace(maps, ranks=torch.zeros_like(maps.ranks), mask=torch.zeros_like(maps.mask))
        for name, maps in tiny_reference.grids.items()
    }
    with pytest.raises(DataError, match="of the teacher's explanation maps on the 4 scored samples are constant"):
        score_eps(tiny_detector(1), dataclasses.replace(tiny_reference, grids=flat), limit=4)


def test_not_differentiable_and_not_finite_students(tiny_reference: TeacherReference) -> None:
    class Frozen(Flat):
        def forward(self, video: Tensor, audio: Tensor, video_mask: Tensor, audio_mask: Tensor) -> Tensor:
            return video.flatten(1).sum(1).round().detach()

    class Wild(Flat):
        def forward(self, video: Tensor, audio: Tensor, video_mask: Tensor, audio_mask: Tensor) -> Tensor:
            return torch.sqrt(video.flatten(1).sum(1) * 0.0)

    with pytest.raises(BackendError, match="cannot be differentiated"):
        score_eps(Frozen(), tiny_reference)
    with pytest.raises(TrialError, match="not finite"):
        score_eps(Wild(), tiny_reference)
    with pytest.raises(ConfigurationError, match="must take the same inputs"):
        score_eps(nn.Linear(4, 1), tiny_reference)


def test_other_maps_than_the_references_are_refused(tiny_detector: Make, tiny_reference: TeacherReference) -> None:
    other = dataclasses.replace(tiny_reference.settings, video_grid=2, nodes=4)
    with pytest.raises(ConfigurationError, match=r"video_grid=2 \(reference: 4\)"):
        score_eps(tiny_detector(1), tiny_reference, other)
    coarse = dataclasses.replace(tiny_reference.settings, nodes=4, rank_weight=1.0)
    assert score_eps(tiny_detector(0), tiny_reference, coarse).eps > 0.9
