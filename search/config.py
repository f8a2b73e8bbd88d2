"""The configuration of a study: what YAML files, `--set` and flags may say, and which part of it makes a study the same study."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

from annotated_types import Ge
from pydantic import AfterValidator

from paretolens import __version__
from paretolens.data.sources import DEFAULT_SOURCE, DataKind, Source, get_source
from paretolens.data.store import digest_of_json
from paretolens.errors import ConfigurationError
from paretolens.evaluators.eps.proxy import ProxySettings
from paretolens.evaluators.eps.settings import EpsSettings
from paretolens.evaluators.latency.settings import Backend, LatencySettings
from paretolens.search import schema
from paretolens.search.bounds import LimitSettings
from paretolens.search.classes import check_classes
from paretolens.search.engine import EngineSettings
from paretolens.search.stage_cache import CacheSettings
from paretolens.search.trees import PRESETS, beyond, check_preset, preset_of
from paretolens.spaces.family import Family
from paretolens.spaces.knobs import Space
from paretolens.spaces.registry import get_family
from paretolens.trainers.device import Device, device_for
from paretolens.trainers.loop import LoopSettings, Monitor
from paretolens.trainers.lowrank import LowRankSettings
from paretolens.trainers.prune import PruneSettings
from paretolens.trainers.quantise import QuantiseSettings
from paretolens.trainers.rates import RateShape
from paretolens.trainers.teacher import TeacherSettings

__all__ = [
    "Config",
    "FloorSettings",
    "StudentSettings",
    "TrackingSettings",
    "load_config",
    "load_stored",
    "make_config",
    "named_tree",
    "presets",
]

T = TypeVar("T", EngineSettings, CacheSettings, "TrackingSettings")


_SOURCE = "source"


def _without_source(data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != _SOURCE}


def _complete_data(data: Mapping[str, Any]) -> dict[str, Any]:
    """Every key of the data written down, so that a stored study says all of what it was made with."""
    try:
        source = get_source(str(data.get(_SOURCE, DEFAULT_SOURCE)))
        settings = schema.build(source.settings_type, _without_source(data), path=("data",))
    except ConfigurationError as error:
        raise schema.MistakesError(str(error).removeprefix("configuration: ")) from error
    return {_SOURCE: source.name, **schema.to_plain(settings)}


@dataclass(frozen=True, kw_only=True)
class StudentSettings:
    """How every student is trained. What varies from trial to trial is a knob of the space, not here."""

    head: LoopSettings = field(default_factory=lambda: LoopSettings(epochs=2, learning_rate=1e-3, rate=RateShape.PLATEAU))
    """The head alone, before distillation, where the knob schedule is two-stages."""
    distill: LoopSettings = field(default_factory=lambda: LoopSettings(epochs=6, learning_rate=2e-3))
    """Distillation from scratch; of the last block and the head where the head was taught before."""
    repair: LoopSettings = field(default_factory=lambda: LoopSettings(epochs=2, learning_rate=1e-3))
    """Fine-tuning after pruning, and after factorising, with the same loss."""
    align: LoopSettings = field(default_factory=lambda: LoopSettings(epochs=3, learning_rate=1e-3, monitor=Monitor.LAST))
    """Fine-tuning with explanations aligned beside the same loss, where the knob gamma is above 0."""
    qat: LoopSettings = field(default_factory=lambda: LoopSettings(epochs=1, learning_rate=2e-4))
    """Fine-tuning under fake quantisation, with the same loss."""
    mirror: bool = True
    """Show half of the clips mirrored."""
    prune: PruneSettings = field(default_factory=PruneSettings)
    """How channels are chosen; the ratio is the knob prune_ratio."""
    low_rank: LowRankSettings = field(default_factory=LowRankSettings)
    """How layers are factorised; the energy is the knob rank_energy."""
    quantise: QuantiseSettings = field(default_factory=QuantiseSettings)
    """Where quantisers stand."""


@dataclass(frozen=True, kw_only=True)
class LatencyConfig(LatencySettings):
    """What the latency objective is measured on, and how."""

    backend: Backend = Backend.AUTO
    """Runtime; auto takes TensorRT where a GPU and the library are, else ONNX Runtime on the CPU."""


@dataclass(frozen=True, kw_only=True)
class FloorSettings:
    """The lines that give EPS its scale."""

    seeds: Annotated[int, Ge(3)] = 3
    """Re-initialised students whose mean EPS is the floor."""
    references: Annotated[int, Ge(0)] = 0
    """Teachers trained again with other seeds, whose mean EPS is drawn beside the floor; 2 or more, or 0 = none. Each takes
    as long as the teacher; `paretolens validate-eps` adds them to a finished study."""

    def __post_init__(self) -> None:
        if self.references == 1:
            raise ConfigurationError("floor.references is 1: one teacher says nothing of the spread; give 0 or at least 2")


@dataclass(frozen=True, kw_only=True)
class TrackingSettings:
    """Where MLflow keeps the study."""

    uri: str | None = None
    """Tracking URI; None takes MLFLOW_TRACKING_URI, else a sqlite store in the workspace."""
    experiment: str = "paretolens"
    """MLflow experiment of the runs."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Everything that a study depends on."""

    seed: Annotated[int, Ge(0)] = 0
    """Seed of teacher, students and proposals."""
    device: Device = Device.AUTO
    """Where networks are trained and explained; auto takes the GPU that a process sees, else the CPU."""
    family: str = "pinpoint"
    """Family of models; see `paretolens space`."""
    space_preset: str = "default"
    """Preset of the family's space."""
    space: Mapping[str, Any] = field(default_factory=dict)
    """Knob → its choices, range or one fixed value, in place of the preset's."""
    first: tuple[Mapping[str, Any], ...] = ()
    """Genomes to evaluate first; knobs left out take their default."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Shape of the input and of the teacher; keys as the family defines them."""
    data: Annotated[Mapping[str, Any], AfterValidator(_complete_data)] = field(default_factory=lambda: _complete_data({}))
    """Where samples come from (`source`, else the built-in clips), and the keys that this source defines."""
    teacher: TeacherSettings = field(default_factory=TeacherSettings)
    """How the teacher is trained."""
    student: StudentSettings = field(default_factory=StudentSettings)
    """How students are trained."""
    search: EngineSettings = field(default_factory=EngineSettings)
    """Budget, workers and sampler."""
    latency: LatencyConfig = field(default_factory=LatencyConfig)
    """How latency is measured."""
    limits: LimitSettings = field(default_factory=LimitSettings)
    """The most that a student may cost; what exceeds it is not trained."""
    eps: EpsSettings = field(default_factory=EpsSettings)
    """How explanations are compared."""
    proxy: ProxySettings = field(default_factory=ProxySettings)
    """How EPS is estimated during training."""
    floor: FloorSettings = field(default_factory=FloorSettings)
    """The zero of nEPS."""
    cache: CacheSettings = field(default_factory=CacheSettings)
    """What is kept between trials."""
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    """Where runs are kept."""

    def make_source(self) -> Source[Any]:
        """Where samples come from."""
        return get_source(str(self.data[_SOURCE]))

    def make_data_settings(self) -> Any:
        """The source's own settings, validated."""
        return schema.build(self.make_source().settings_type, _without_source(self.data), path=("data",))

    def make_family(self) -> Family[Any]:
        """The family."""
        return get_family(self.family)

    def make_model_settings(self) -> Any:
        """The family's own settings, validated; classes that they leave open are those of the data."""
        settings = schema.build(self.make_family().settings_type, self.model, path=("model",))
        wanted = getattr(settings, "classes", None)
        return dataclasses.replace(settings, classes=self.classes) if wanted == () else settings

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes of the data; empty where its samples are real or fake."""
        return self.make_source().signature(self.make_data_settings()).classes

    def make_space(self) -> Space:
        """The space with the overrides applied."""
        return self.make_family().space(self.space_preset).override(self.space)

    def first_genomes(self) -> list[dict[str, Any]]:
        """The genomes to evaluate first, complete and valid.

        Raises:
            ConfigurationError: one of them does not fit the space.
        """
        space = self.make_space()
        return [_first_genome(space, wish) for wish in self.first]

    def bound(self) -> dict[str, Any]:
        """What must be equal for two sessions to belong to one study: all but budget, workers, store, cache; plain values.

        What stands at its default is left out, so that a setting that came later does not make an older study another one.
        """
        plain = {key: value for key, value in schema.to_plain(self).items() if key not in _FREE_KEYS}
        plain["search"] = {key: value for key, value in plain["search"].items() if key not in _FREE_SEARCH_KEYS}
        usual = schema.to_plain(Config())
        return beyond(plain, usual if self.data[_SOURCE] == DEFAULT_SOURCE else {**usual, "data": _LATER_DATA})

    def identity(self) -> str:
        """Hash of `bound`."""
        return digest_of_json(self.bound())[:16]

    def resumed(self, wanted: "Config", named: Mapping[str, Any]) -> "Config":
        """This study's configuration in its next session: budget, cache and store as before but for what is named.

        Args:
            wanted: of the same identity; gives the values.
            named: the tree of what file, `--set` and flags say; a store that it leaves to MLFLOW_TRACKING_URI stays.
        """
        search = [key for key in named.get("search") or {} if key in _FREE_SEARCH_KEYS]
        tracking = [key for key in named.get("tracking") or {} if key != "uri" or wanted.tracking.uri]
        return dataclasses.replace(
            self,
            search=_with(self.search, wanted.search, search),
            cache=_with(self.cache, wanted.cache, named.get("cache") or {}),
            tracking=_with(self.tracking, wanted.tracking, tracking),
        )

    def validate(self) -> None:
        """Find what can be known to be wrong before anything expensive starts.

        Raises:
            ConfigurationError: the family, a knob, a size or the shape of the data is impossible.
        """
        family, settings, space = self.make_family(), self.make_model_settings(), self.make_space()
        family.check(space, settings)
        self.first_genomes()
        device_for(self.device)
        self._check_kind()
        check_classes(self)
        self._check_shapes()
        self._check_batches()
        if self.latency.backend is Backend.TORCH:
            raise ConfigurationError("latency.backend is torch: a study times exported files; use onnxruntime, tensorrt or auto")

    def _check_batches(self) -> None:
        source = self.make_source()
        if not source.generated:
            return  # its lists are read only when it is prepared
        count = source.listed(self.make_data_settings())["train"]
        stages = {f"student.{name}": getattr(self.student, name) for name in StudentSettings.__dataclass_fields__}
        loops = {name: loop for name, loop in {"teacher": self.teacher, **stages}.items() if isinstance(loop, LoopSettings)}
        large = [f"{name}.batch_size {loop.batch_size}" for name, loop in loops.items() if loop.batch_size > count]
        if large:
            raise ConfigurationError(
                f"data.train is {count}: a batch must not hold more samples than there are, got {', '.join(large)}; "
                "raise data.train or lower them"
            )

    def _check_kind(self) -> None:
        source, family = self.make_source(), self.make_family()
        kind = source.signature_kind(self.make_data_settings())
        if kind is not family.data_kind:
            raise ConfigurationError(
                f"data.source {source.name} gives {kind}, and family {family.name} takes {family.data_kind}; "
                f"begin with --preset {preset_of(family.name)}, or name another source or family"
            )

    def _check_shapes(self) -> None:
        given = {spec.name: spec.shape for spec in self.make_source().signature(self.make_data_settings()).inputs}
        kind = self.make_family().data_kind
        for spec in self.make_family().signature(self.make_model_settings()).inputs:
            if spec.shape != given.get(spec.name, spec.shape):
                raise ConfigurationError(
                    f"model and data must agree: the model's {spec.name} is {spec.shape}, the {kind} give "
                    f"{given[spec.name]}; change {_SHAPE_KEYS[kind]}"
                )


_SHAPE_KEYS = {
    DataKind.CLIPS: "model.frames, frame_size, audio_frames or coefficients, or data.frames, size or fps",
    DataKind.PICTURES: "model.size or data.size",
}
_LATER_DATA: Mapping[str, Any] = {"classes": []}
"""Keys of other sources, of which a study names all, that came after the first such studies; at their default."""
_FREE_KEYS = ("tracking", "cache")
_FREE_SEARCH_KEYS = (
    "trials", "workers", "cpus_per_worker", "gpus_per_worker", "time_limit_s", "trial_timeout_s", "trial_memory_bytes",
    "attempts", "failures", "address", "seed", "seed_from", "worker_resources", "latency_resource", "latency_timeout_s",
    "cluster_wait_s",
)  # fmt: skip


def load_config(
    *, preset: str = "default", file: Path | None = None, assignments: Sequence[str] = (), flags: Mapping[str, Any]
) -> Config:
    """Merge a preset, a file, `--set` assignments and flags, the later over the earlier, and validate the result.

    Raises:
        ConfigurationError: anything about them is wrong; all mistakes of a kind are named at once.
    """
    return make_config(named_tree(file=file, assignments=assignments, flags=flags), preset=preset)


def make_config(named: Mapping[str, Any], *, preset: str | None = None, base: Mapping[str, Any] | None = None) -> Config:
    """The configuration that a tree of keys makes of a preset, or without one of a `base` that names every key.

    Raises:
        ConfigurationError: anything about it is wrong; all mistakes of a kind are named at once.
    """
    start = dict(base or {}) if preset is None else _preset(preset)
    config = schema.build(Config, schema.merge(_for_source(start, named), named))
    if preset is not None and "first" not in named:
        space = config.make_space()
        config = dataclasses.replace(config, first=tuple(wish for wish in config.first if _fits(space, wish)))
    config = dataclasses.replace(config, search=dataclasses.replace(config.search, seed=config.seed))
    config.validate()
    return config


def presets() -> dict[str, dict[str, Any]]:
    """The trees of the built-in configurations by name; those for data of one's own leave out where it lies."""
    return {path.stem: _preset(path.stem) for path in sorted(PRESETS.glob("*.yaml"))}


def _for_source(start: Mapping[str, Any], named: Mapping[str, Any]) -> Mapping[str, Any]:
    """A tree without the keys of its data where another source is named, whose keys these are not."""
    own, data = named.get("data"), start.get("data") or {}
    wanted = own.get(_SOURCE) if isinstance(own, Mapping) else None
    return start if wanted in (None, data.get(_SOURCE, DEFAULT_SOURCE)) else {**start, "data": {}}


def named_tree(*, file: Path | None = None, assignments: Sequence[str] = (), flags: Mapping[str, Any]) -> dict[str, Any]:
    """What a file, `--set` assignments and flags say, the later over the earlier, without a preset.

    Raises:
        ConfigurationError: the file or an assignment cannot be read.
    """
    trees = [schema.read_yaml(file)] if file else []
    return schema.merge(*trees, *(schema.parse_assignment(text) for text in assignments), flags)


def _with(settings: T, wanted: T, keys: Iterable[str]) -> T:
    """Settings with some of another's values."""
    return dataclasses.replace(settings, **{key: getattr(wanted, key) for key in keys})


def _preset(name: str) -> dict[str, Any]:
    """A preset's tree; `extends` names the one that it changes."""
    tree = dict(schema.read_yaml(PRESETS / f"{check_preset(name)}.yaml"))
    base = tree.pop("extends", None)
    return tree if base is None else dict(schema.merge(_preset(base), tree))


def _first_genome(space: Space, wish: Mapping[str, Any]) -> dict[str, Any]:
    genome = space.repair({**space.default(), **wish})
    space.validate({**genome, **{name: value for name, value in wish.items() if name not in genome}})
    return genome


def _fits(space: Space, wish: Mapping[str, Any]) -> bool:
    """Whether a preset's first genome is still possible in a space that the user has changed."""
    try:
        _first_genome(space, wish)
    except ConfigurationError:
        return False
    return True


def load_stored(path: Path) -> Config:
    """The configuration a study was started with.

    Raises:
        ConfigurationError: it can't be read, it is empty, or another version wrote it, which this one reads otherwise.
    """
    tree = schema.read_yaml(path)
    if not tree:
        raise ConfigurationError(
            f"{path}: is empty, so nobody knows how the study was set up; put it back from a copy "
            "(the study's report and its run's parameters in MLflow hold it too), or search under another --name"
        )
    try:
        return schema.build(Config, tree)
    except ConfigurationError as error:
        mistakes = str(error).removeprefix("configuration: ")
        raise ConfigurationError(
            f"{path}: not as this version of Paretolens ({__version__}) writes it ({mistakes}); "
            "use the version that the tag paretolens.code of the study's run in MLflow names, or search under another --name: "
            "'front', 'compare' and 'report' still read its run with --tracking-uri"
        ) from error
