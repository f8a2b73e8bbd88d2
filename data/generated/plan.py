"""Who speaks in which clip and what is done to it: drawn from the seed before anything is rendered.

A fake is made of a real clip of the same split (its source); both share a group. Persons belong to one split.
"""

from dataclasses import dataclass

import numpy as np

from paretolens.data.generated.settings import SPLITS, UNSEEN_KIND, GeneratedSettings

__all__ = ["ClipPlan", "plan_split"]

MIN_SHIFT, MAX_SHIFT = 2, 5
IDENTITIES_PER_SPLIT = 100_000


@dataclass(frozen=True, kw_only=True)
class ClipPlan:
    """One clip to be made."""

    split: str
    """Split it belongs to."""
    index: int
    """Row in the split, also its file name."""
    source: int
    """Number of the scene it shows, unique over all splits; a fake shows its source's scene."""
    original: int
    """Row of the real clip of the same scene."""
    identity: int
    """Number of the person, unique over all splits."""
    donor: int
    """Person of the same split who lends a face to a blend."""
    count: int
    """Frames."""
    kind: str
    """`real` or a manipulation."""
    strength: float
    """0 for real clips."""
    shift: int
    """Frames by which the sound comes late, negative = early; 0 but for `shift`."""
    period: tuple[int, int]
    """First and one past the last manipulated frame; (0, 0) for real clips."""
    crf: int
    """H.264 quality of its only encoding."""
    bit_rate: int
    """AAC bits a second."""
    seed: int
    """Seed of what is random in the manipulation and encoding."""

    @property
    def fake(self) -> bool:
        """Whether it is manipulated."""
        return self.kind != "real"


def plan_split(settings: GeneratedSettings, split: str) -> tuple[ClipPlan, ...]:
    """All clips of a split, real and fake in random order."""
    code = SPLITS.index(split)
    rng = np.random.default_rng([settings.seed, 7001, code])
    total = settings.sizes()[split]
    fakes = total // 2
    reals = total - fakes
    people = max(2, -(-total // settings.clips_per_identity))
    owner = code * IDENTITIES_PER_SPLIT + rng.permutation(np.arange(reals) % people)
    counts = rng.integers(settings.min_frames, settings.frames + 1, reals)
    place = rng.permutation(total)  # row of real clip i, then of the fake made of it
    kinds = _kinds(settings, split, fakes, rng)
    plans: list[ClipPlan] = []
    for number in range(total):
        i = number % reals  # a fake is made of the real clip with its number
        kind = kinds[number - reals] if number >= reals else "real"
        others = code * IDENTITIES_PER_SPLIT + (owner[i] % IDENTITIES_PER_SPLIT + 1 + rng.integers(people - 1)) % people
        plans.append(
            ClipPlan(
                split=split,
                index=int(place[number]),
                source=code * IDENTITIES_PER_SPLIT + i,
                original=int(place[i]),
                identity=int(owner[i]),
                donor=int(others),
                count=int(counts[i]),
                kind=kind,
                strength=float(rng.uniform(settings.strength_low, settings.strength_high)) if kind != "real" else 0.0,
                shift=_shift(rng) if kind == "shift" else 0,
                period=_period(kind, int(counts[i]), rng),
                crf=int(rng.integers(settings.crf_low, settings.crf_high + 1)),
                bit_rate=int(rng.choice([32_000, 48_000, 64_000])),
                seed=int(rng.integers(2**31)),
            )
        )
    return tuple(sorted(plans, key=lambda plan: plan.index))


def _kinds(settings: GeneratedSettings, split: str, fakes: int, rng: np.random.Generator) -> list[str]:
    """Kinds in the wanted shares, by largest remainder, in random order."""
    if split == "unseen":
        return [UNSEEN_KIND] * fakes
    names = list(settings.shares())
    exact = np.array([settings.shares()[name] for name in names]) * fakes
    counts = np.floor(exact + 1e-9).astype(int)
    for k in np.argsort(counts - exact, kind="stable")[: fakes - counts.sum()]:
        counts[k] += 1
    kinds = [name for name, count in zip(names, counts, strict=True) for _ in range(count)]
    return [kinds[k] for k in rng.permutation(fakes)]


def _shift(rng: np.random.Generator) -> int:
    return int(rng.integers(MIN_SHIFT, MAX_SHIFT + 1)) * (1 if rng.random() < 0.5 else -1)


def _period(kind: str, count: int, rng: np.random.Generator) -> tuple[int, int]:
    """Half of the mouths and voices are manipulated for a part of the clip, everything else from end to end."""
    if kind == "real":
        return (0, 0)
    if kind not in ("mouth", "voice") or rng.random() < 0.5:
        return (0, count)
    length = int(rng.integers((count + 1) // 2, count + 1))
    first = int(rng.integers(count - length + 1))
    return (first, first + length)
