from collections import Counter

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from paretolens.data.generated.plan import plan_split
from paretolens.data.generated.settings import SPLITS, GeneratedSettings


@hypothesis_settings(max_examples=25, deadline=None)
@given(total=st.integers(2, 90), seed=st.integers(0, 10_000), split=st.sampled_from(SPLITS))
def test_any_size_gives_every_row_once_and_balanced_classes(total: int, seed: int, split: str) -> None:
    plans = plan_split(GeneratedSettings(seed=seed, **{split: total}), split)
    assert [plan.index for plan in plans] == list(range(total))
    assert sum(plan.fake for plan in plans) == total // 2
    for plan in plans:
        original = plans[plan.original]
        assert original.kind == "real"
        assert (original.source, original.identity, original.count) == (plan.source, plan.identity, plan.count)
        assert plan.donor != plan.identity
        assert 0 <= plan.period[0] <= plan.period[1] <= plan.count
        assert (plan.period[1] > plan.period[0]) == plan.fake


def test_the_same_seed_gives_the_same_plan_and_another_seed_another() -> None:
    one, two, other = (plan_split(GeneratedSettings(seed=seed), "train") for seed in (1, 1, 2))
    assert one == two != other


def test_shares_are_met_to_within_one_clip() -> None:
    settings = GeneratedSettings()
    counts = Counter(plan.kind for plan in plan_split(settings, "train"))
    fakes = settings.train // 2
    assert all(abs(counts[kind] - share * fakes) < 1.0 for kind, share in settings.shares().items())


@pytest.mark.parametrize("name", ["crf", "bit_rate", "count"])
def test_what_the_codec_does_does_not_tell_the_label(name: str) -> None:
    from scipy.stats import mannwhitneyu

    plans = plan_split(GeneratedSettings(train=4000), "train")
    real = [getattr(plan, name) for plan in plans if not plan.fake]
    fake = [getattr(plan, name) for plan in plans if plan.fake]
    assert mannwhitneyu(real, fake).pvalue > 0.01
