import torch

from paretolens.evaluators.eps.population import eligible_samples, gate_modalities, verdict_sign
from paretolens.evaluators.eps.settings import EpsSettings, Population


def test_predicted_fakes_that_left_the_baseline() -> None:
    logit = torch.tensor([4.0, 3.0, 2.0, -1.0, 1.0])
    change = torch.tensor([5.0, -4.0, 0.3, 6.0, 4.5])
    assert eligible_samples(logit, change, EpsSettings()).tolist() == [True, True, False, False, True]


def test_population_of_all_takes_both_sides() -> None:
    logit, change = torch.tensor([1.0, -1.0, 1.0]), torch.tensor([2.0, -2.0, 0.0])
    assert eligible_samples(logit, change, EpsSettings(population=Population.ALL)).tolist() == [True, True, False]


def test_nobody_is_called_fake() -> None:
    assert not eligible_samples(-torch.ones(3), torch.ones(3), EpsSettings()).any()


def test_a_modality_counts_from_a_tenth_of_the_change_on() -> None:
    share, counts = gate_modalities(torch.tensor([[9.5, 0.5], [-1.0, 3.0], [1.0, 1.0]]), torch.tensor([10.0, 2.0, 0.0]), 0.1)
    torch.testing.assert_close(share, torch.tensor([[0.95, 0.05], [0.5, 1.5], [0.0, 0.0]]))
    assert counts.tolist() == [[True, False], [True, True], [False, False]]


def test_sign_of_the_verdict() -> None:
    assert verdict_sign(torch.tensor([2.0, -2.0, 0.0])).tolist() == [1.0, -1.0, -1.0]
