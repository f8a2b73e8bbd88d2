"""What the teacher has to say about the explained set: computed once per study, kept on disk, mapped by every worker."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from paretolens.errors import DataError
from paretolens.evaluators.eps.compare import RankedMaps, is_constant, ranked_maps_of
from paretolens.evaluators.eps.deciders import by_class, chosen_classes
from paretolens.evaluators.eps.explained import ExplainedSet
from paretolens.evaluators.eps.population import eligible_samples, gate_modalities, verdict_sign
from paretolens.evaluators.eps.settings import EpsSettings
from paretolens.evaluators.explain import Attribution, Explainer, holding

__all__ = ["BLOCK", "TeacherReference", "device_of"]

BLOCK = 16
"""Samples whose attributions are held at once, before they are reduced to maps."""


MAPS = ("values", "ranks", "mask", "valid")
"""Parts of ranked maps."""


def device_of(model: nn.Module) -> torch.device:
    """Where a model's first parameter lies; the CPU for a model without any."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


@dataclass(frozen=True, kw_only=True, eq=False)
class TeacherReference:
    """The teacher's side of every comparison. Read-only; a loaded reference is memory-mapped and may be shared by threads."""

    explained: ExplainedSet
    """The samples."""
    settings: EpsSettings
    """The study's definition of EPS."""
    explainer: str
    """The explainer and its settings, in words."""
    logit: Tensor
    """(n,) float64."""
    baseline_logit: Tensor
    """(n,) float64."""
    converged: Tensor
    """(n,) bool."""
    sums: Tensor
    """(n, M) float64, Σ of the attributions to each modality, in the order of `modalities`."""
    grids: Mapping[str, RankedMaps]
    """Evidence maps by input name."""
    pixels: Mapping[str, RankedMaps]
    """Signed maps of full resolution by input name; empty where the settings leave them out."""
    classes: Tensor | None = None
    """(n,) int64, the class that the teacher chooses, of which `logit`, `baseline_logit` and the maps are; None = one logit."""

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the inputs that the explainer gives maps of."""
        return tuple(self.grids)

    @property
    def change(self) -> Tensor:
        """ΔF (n,) float64."""
        return self.logit - self.baseline_logit

    @property
    def eligible(self) -> Tensor:
        """(n,) bool, the samples that enter the headline."""
        return eligible_samples(self.logit, self.change, self.settings, self._fake)

    @property
    def _fake(self) -> Tensor | None:
        """(n,) bool, what the teacher calls anything but real; None where the logit says it."""
        if self.classes is None:
            return None
        return self.classes > 0 if self.explained.signature.has_real else torch.ones_like(self.classes, dtype=torch.bool)

    @property
    def side(self) -> Tensor:
        """(n,) ±1, the side of the logit whose evidence is taken: the teacher's; a class's logit always for the class."""
        return verdict_sign(self.logit) if self.classes is None else torch.ones_like(self.logit)

    @property
    def share(self) -> Tensor:
        """(n, M) float64, |Σ attributions of the modality| / |ΔF|."""
        return gate_modalities(self.sums, self.change, self.settings.gate)[0]

    @property
    def counting(self) -> Tensor:
        """(n, M) bool, modalities whose share reaches the gate."""
        return gate_modalities(self.sums, self.change, self.settings.gate)[1]

    @staticmethod
    def compute(
        teacher: nn.Module, explained: ExplainedSet, settings: EpsSettings, explainer: Explainer | None = None
    ) -> "TeacherReference":
        """Explain every sample with the teacher, a block at a time; the maps are held once.

        Raises:
            DataError: no sample is eligible, no modality counts, or every map that counts is constant.
            ConfigurationError, BackendError, TrialError: as the explainer raises them.
        """
        explain = settings.make_explainer() if explainer is None else explainer
        columns, everything = Columns(len(explained)), torch.arange(len(explained))
        classes = chosen_classes(teacher, explained, settings.chunk)
        for model, rows in by_class(teacher, everything, classes):
            with holding(explain, model) as held:
                for index in rows.split(BLOCK):
                    sign = None if classes is None else torch.ones(len(index), device=device_of(model))
                    columns.put(index, explain_block(model, explained, index, settings=settings, explainer=held, sign=sign))
        reference = TeacherReference(
            explained=explained,
            settings=settings,
            explainer=describe(explain),
            **columns.scalars,
            grids=columns.maps("grid"),
            pixels=columns.maps("pixel"),
            classes=classes,
        )
        reference.check()
        return reference

    def check(self) -> None:
        """Raise where nothing can be compared with this teacher."""
        eligible = self.eligible
        if not bool(eligible.any()):
            raise DataError(
                f"EPS needs samples of the population {self.settings.population} whose logit leaves the baseline's: none of "
                f"{len(self.explained)} explained samples is one (largest logit {float(self.logit.max()):.3g}); "
                "train the teacher longer or explain other samples"
            )
        counting = self.counting & eligible[:, None]
        if not bool(counting.any()):
            raise DataError(
                f"no modality carries {self.settings.gate:g} of the teacher's change of logit on any of {int(eligible.sum())} "
                "eligible samples, nothing to compare; lower eps.gate"
            )
        constant = torch.stack([is_constant(maps) for maps in self.grids.values()], dim=1)
        if bool(constant[counting].all()):
            raise DataError(
                f"every explanation map of the teacher is constant on {int(eligible.sum())} eligible samples, nothing to rank; "
                "give it another baseline (baseline: zero) or check that its logit depends on its inputs"
            )

    def save(self, folder: Path) -> None:
        """Write to a new folder; an existing one is left as it is. Safe when several processes do it at once."""
        from paretolens.evaluators.eps.storage import save_reference

        save_reference(self, folder)

    @staticmethod
    def load(folder: Path, *, verify: bool = True) -> "TeacherReference":
        """Map a saved reference into memory; checksums are compared unless `verify` is False.

        Raises:
            IntegrityError: a file is missing, damaged or of another format.
        """
        from paretolens.evaluators.eps.storage import load_reference

        return load_reference(folder, verify=verify)

    @staticmethod
    def load_or_compute(
        cache: Path, teacher: nn.Module, explained: ExplainedSet, settings: EpsSettings, explainer: Explainer | None = None
    ) -> "TeacherReference":
        """The reference from the cache folder, computed by the first process that asks while the others wait.

        Its sub-folder is named by what it depends on: the teacher's weights, the samples, the settings and the explainer.
        """
        from paretolens.evaluators.eps.storage import fingerprint, save_reference

        explain = settings.make_explainer() if explainer is None else explainer
        folder = cache / fingerprint(teacher, explained, settings, describe(explain))
        if not folder.is_dir():
            save_reference(lambda: TeacherReference.compute(teacher, explained, settings, explain), folder)
        return TeacherReference.load(folder)


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """Some samples explained: scalars on the CPU, maps where the model is."""

    attribution: Attribution
    sums: Tensor
    grids: Mapping[str, RankedMaps]
    pixels: Mapping[str, RankedMaps]


def explain_block(
    model: nn.Module,
    explained: ExplainedSet,
    index: Tensor,
    *,
    settings: EpsSettings,
    explainer: Explainer,
    sign: Tensor | None = None,
) -> Block:
    """Attributions of the samples `index`, reduced to maps; `sign` (B,) is the teacher's, or None for the model's own."""
    device = device_of(model)
    attribution = explainer(model, explained.rows(index, device), explained.baseline)
    side = verdict_sign(attribution.logit) if sign is None else sign
    grids, pixels = {}, {}
    sums: list[Tensor] = []
    for spec, values, total in zip(explained.signature.inputs, attribution.values, attribution.sums(), strict=True):
        if values is not None and total is not None:
            ignored = explained.ignored(spec.name, index)
            signs = side if attribution.signed else None
            grid, pixel = ranked_maps_of(values, spec.kind, signs, settings, None if ignored is None else ignored.to(device))
            grids[spec.name] = grid
            sums.append(total)
            if pixel is not None:
                pixels[spec.name] = pixel
    return Block(attribution=without_values(attribution), sums=torch.stack(sums, dim=1), grids=grids, pixels=pixels)


def without_values(attribution: Attribution) -> Attribution:
    """The scalars of an attribution, so that the full-size values can be freed."""
    return Attribution(
        values=(),
        logit=attribution.logit,
        baseline_logit=attribution.baseline_logit,
        delta=attribution.delta,
        converged=attribution.converged,
        nodes=attribution.nodes,
        complete=attribution.complete,
        signed=attribution.signed,
    )


class Columns:
    """Arrays of all samples, made at the first block and filled in place, on the CPU: what is explained is never held twice."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.scalars: dict[str, Tensor] = {}
        self.parts: dict[tuple[str, str], dict[str, Tensor]] = {}
        self.shapes: dict[tuple[str, str], tuple[int, ...]] = {}

    def put(self, index: Tensor, block: Block) -> None:
        """Write a block's rows."""
        found = block.attribution
        scalars = {"logit": found.logit, "baseline_logit": found.baseline_logit, "converged": found.converged, "sums": block.sums}
        self.fill(self.scalars, index, scalars)
        for group, maps in (("grid", block.grids), ("pixel", block.pixels)):
            for name, ranked in maps.items():
                self.shapes[group, name] = ranked.shape
                self.fill(self.parts.setdefault((group, name), {}), index, {part: getattr(ranked, part) for part in MAPS})

    def fill(self, into: dict[str, Tensor], index: Tensor, rows: Mapping[str, Tensor]) -> None:
        """Write rows (B, ...) of some columns."""
        for name, values in rows.items():
            if name not in into:
                into[name] = torch.empty((self.count, *values.shape[1:]), dtype=values.dtype)
            into[name][index] = values.cpu()

    def maps(self, wanted: str) -> dict[str, RankedMaps]:
        """The maps of a group by input name."""
        return {
            name: RankedMaps(shape=self.shapes[group, name], **parts)
            for (group, name), parts in self.parts.items()
            if group == wanted
        }


def describe(explainer: Explainer) -> str:
    """An explainer and its settings as stable text; the chunk only moves rounding and is left out."""
    settings = asdict(explainer) if hasattr(explainer, "__dataclass_fields__") else {}  # type: ignore[call-overload]  # guarded
    settings.pop("chunk", None)
    return f"{type(explainer).__name__} {json.dumps(settings, sort_keys=True, default=str)}"
