"""EPS of a student against the teacher's reference.

Per sample and modality m that counts: EPS_m = w1·ρ_m + w2·J_m. Per sample: their mean. EPS: the mean over the eligible samples,
in [-0.5, 1] at equal weights, not clamped. Independent maps score w2/9 ≈ .056 at a top share of 20 %.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from paretolens.data.bootstrap import nanmean_interval
from paretolens.errors import ConfigurationError, DataError, TrialError
from paretolens.evaluators.eps.compare import Agreement, agreement, is_constant
from paretolens.evaluators.eps.deciders import by_class, chosen_classes, deciders
from paretolens.evaluators.eps.reference import BLOCK, Block, TeacherReference, device_of, explain_block
from paretolens.evaluators.eps.result import EpsScore, ModalityScore, SampleScores, normalised
from paretolens.evaluators.eps.settings import EpsSettings
from paretolens.evaluators.explain import Explainer, held_still, holding, logits_in_chunks

__all__ = ["score_eps"]

Floats = NDArray[np.float64]


def score_eps(
    student: nn.Module,
    reference: TeacherReference,
    settings: EpsSettings | None = None,
    *,
    floor: float | None = None,
    explainer: Explainer | None = None,
    limit: int | None = None,
) -> EpsScore:
    """Explain the eligible samples with the student and compare, a block at a time; memory does not grow with the sample count.

    Args:
        student: torch module with the teacher's inputs; it is put back as it was.
        reference: the teacher's side.
        settings: None = the reference's own. Weights, nodes, probes and bootstrap may differ, what shapes maps may not.
        floor: mean EPS of re-initialised students, for nEPS.
        explainer: None = the one of the settings; it must be of the reference's kind.
        limit: score only the first so many eligible samples (a proxy during training).

    Raises:
        ConfigurationError: the settings or the inputs are not those of the reference.
        BackendError: the student cannot be differentiated.
        DataError: the teacher has nothing to compare on the samples that are scored (`limit`).
        TrialError: gradients are not finite, or all of the student's maps are constant.
    """
    used = reference.settings if settings is None else settings
    check_settings(used, reference)
    explain = used.make_explainer() if explainer is None else explainer
    check_kind(explain, reference)
    eligible = reference.eligible.nonzero()[:, 0][:limit]
    sheet = Sheet(reference, used)
    device = device_of(student)
    for model, rows in deciders(student, reference.explained, eligible, used.chunk, reference.classes):
        with holding(explain, model) as held:
            for index in rows.split(BLOCK):
                sign = reference.side[index].to(device)
                sheet.add(index, explain_block(model, reference.explained, index, settings=used, explainer=held, sign=sign))
    sheet.add_logits(student, used.chunk)
    return sheet.result(floor)


def check_settings(settings: EpsSettings, reference: TeacherReference) -> None:
    """Raise where settings would compare maps of another making."""
    mine, theirs = settings.map_record(), reference.settings.map_record()
    different = [f"{name}={mine[name]} (reference: {theirs[name]})" for name in mine if mine[name] != theirs[name]]
    if settings.pixels and not reference.settings.pixels:
        different.append("pixels=True (reference: False)")
    if different:
        raise ConfigurationError(f"a score must use its reference's maps: {', '.join(different)}; compute the reference again")


def check_kind(explainer: Explainer, reference: TeacherReference) -> None:
    """Raise where teacher and student would be explained in different ways."""
    mine, theirs = type(explainer).__name__, reference.explainer.split()[0]
    if mine != theirs:
        raise ConfigurationError(
            f"teacher and student must be explained alike: the reference's maps are of {theirs}, the student's would be of "
            f"{mine}; compute the reference again with the same explainer"
        )


class Sheet:
    """Per-sample scores while they are filled in; one student, one thread."""

    def __init__(self, reference: TeacherReference, settings: EpsSettings) -> None:
        count, names = len(reference.explained), reference.modalities
        self.reference, self.settings = reference, settings
        self.rho = {group: np.full((count, len(names)), np.nan) for group in ("grid", "pixel")}
        self.iou = {group: np.full((count, len(names)), np.nan) for group in ("grid", "pixel")}
        self.grids = {name: np.zeros(tuple(maps.values.shape), dtype=np.float32) for name, maps in reference.grids.items()}
        self.logit = np.full(count, np.nan)
        self.eligible = np.zeros(count, dtype=bool)
        self.converged = np.ones(count, dtype=bool)
        self.agrees = np.zeros(count, dtype=bool)
        self.degenerate = 0
        self.constant = 0
        self.teacher_constant = 0
        self.compared = 0

    def add(self, index: Tensor, block: Block) -> None:
        """Compare a block of the student's maps with the teacher's."""
        rows = index.numpy()
        self.eligible[rows] = True
        self.logit[rows] = block.attribution.logit.numpy()
        self.converged[rows] = block.attribution.converged.numpy()
        for name, maps in block.grids.items():
            self.grids[name][rows] = maps.values.cpu().numpy()
        counting = self.reference.counting[index]
        for group, mine, theirs in (
            ("grid", block.grids, self.reference.grids),
            ("pixel", block.pixels, self.reference.pixels),
        ):
            for column, name in enumerate(self.reference.modalities if mine else ()):
                if name not in mine:
                    kind = self.reference.explainer.split()[0]
                    raise ConfigurationError(f"{kind} gives no map of {name} for this student, but did for the teacher")
                student = mine[name]
                found = agreement(theirs[name].rows(index, student.values.device), student)
                self.fill(group, rows, column, found, counting[:, column].numpy())
                if group == "grid":
                    flat = is_constant(theirs[name].rows(index, torch.device("cpu"))) & counting[:, column]
                    self.teacher_constant += int(flat.sum())

    def fill(self, group: str, rows: NDArray[np.int64], column: int, found: Agreement, counts: NDArray[np.bool_]) -> None:
        """Keep ρ and J where the modality counts."""
        self.rho[group][rows[counts], column] = found.rho.cpu().numpy()[counts]
        self.iou[group][rows[counts], column] = found.iou.cpu().numpy()[counts]
        if group == "grid":
            self.degenerate += int(found.both_constant.cpu().numpy()[counts].sum())
            self.constant += int((found.both_constant | found.one_constant).cpu().numpy()[counts].sum())
            self.compared += int(counts.sum())

    def add_logits(self, student: nn.Module, chunk: int) -> None:
        """Logits of the samples that were not explained, and the agreement of verdicts."""
        left = torch.from_numpy(np.flatnonzero(np.isnan(self.logit)))
        device, reference = device_of(student), self.reference
        for model, rows in by_class(student, left, reference.classes):
            with held_still(model):
                for index in rows.split(chunk):
                    found = logits_in_chunks(model, reference.explained.rows(index, device), chunk)
                    self.logit[index.numpy()] = found.cpu().to(torch.float64).numpy()
        if reference.classes is None:
            self.agrees = (reference.logit.numpy() > 0) == (self.logit > 0)
        else:
            chosen = chosen_classes(student, reference.explained, chunk)
            assert chosen is not None
            self.agrees = (chosen == reference.classes).numpy()

    def values(self, group: str) -> Floats:
        """w1·ρ + w2·J, (n, M), NaN where nothing was compared."""
        weight = self.settings.rank_weight
        total: Floats = weight * self.rho[group] + (1.0 - weight) * self.iou[group]
        return total

    def check(self) -> None:
        """Raise where nothing was compared, and say whose fault it is."""
        count = int(self.eligible.sum())
        if not self.compared:
            raise DataError(
                f"no modality of the teacher's reaches eps.gate {self.reference.settings.gate:g} on the {count} "
                "scored samples, nothing to compare; score more samples or lower it"
            )
        if self.teacher_constant == self.compared:
            raise DataError(
                f"all {self.compared} of the teacher's explanation maps on the {count} scored samples are constant, "
                "nothing to compare; score more samples or give another baseline"
            )
        if self.constant == self.compared:
            raise TrialError(
                f"all {self.compared - self.teacher_constant} of the student's explanation maps that were compared are constant: "
                "its logit does not depend on its inputs; train it longer"
            )

    def result(self, floor: float | None) -> EpsScore:
        """The finished score."""
        self.check()
        reference, settings = self.reference, self.settings
        per_sample = row_means(self.values("grid"))
        groups = np.asarray(reference.explained.groups)
        interval = nanmean_interval(
            per_sample, groups, resamples=settings.resamples, confidence=settings.confidence, seed=settings.seed
        )
        teacher = reference.logit.numpy()
        pixel = self.scores("pixel") if settings.pixels else {}
        return EpsScore(
            eps=interval.mean,
            ci_low=interval.low,
            ci_high=interval.high,
            floor=floor,
            neps=None if floor is None else normalised(interval.mean, floor),
            modalities=self.scores("grid"),
            pixel=mean_or_nan(row_means(self.values("pixel"))),
            pixel_modalities=pixel,
            agreement_explained=float(np.mean(self.agrees)),
            logit_correlation=correlation(teacher, self.logit),
            eligible=int(self.eligible.sum()),
            excluded=len(self.eligible) - int(self.eligible.sum()),
            degenerate=self.degenerate,
            unconverged=int((~self.converged).sum()),
            teacher_unconverged=int((~reference.converged.numpy()[self.eligible]).sum()),
            samples=SampleScores(
                eps=per_sample,
                pixel=row_means(self.values("pixel")),
                rho=self.rho["grid"],
                iou=self.iou["grid"],
                logit=self.logit,
                groups=groups,
                indices=reference.explained.indices,
                grids=self.grids,
            ),
            settings=settings,
            explainer=reference.explainer,
        )

    def scores(self, group: str) -> Mapping[str, ModalityScore]:
        """Each modality by itself, over the samples where it counts."""
        values = self.values(group)
        return {
            name: ModalityScore(
                eps=mean_or_nan(values[:, column]),
                rho=mean_or_nan(self.rho[group][:, column]),
                iou=mean_or_nan(self.iou[group][:, column]),
                samples=int((~np.isnan(values[:, column])).sum()),
            )
            for column, name in enumerate(self.reference.modalities)
        }


def row_means(values: Floats) -> Floats:
    """Mean of each row (n, M) over what is not NaN; NaN for empty rows, without a warning."""
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    means: Floats = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    return means


def mean_or_nan(values: Floats) -> float:
    """Mean of what is not NaN; NaN where nothing is left."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def correlation(a: Floats, b: Floats) -> float:
    """Pearson's r; NaN where either is constant."""
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum() / spread) if spread > 0 else float("nan")
