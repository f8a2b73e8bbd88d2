"""How a search is run: budget, workers, who proposes and who may stop. Plain settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Gt

from paretolens.errors import ConfigurationError
from paretolens.search.halving import HalvingSettings
from paretolens.search.strategies import Sampler, Scheduler

__all__ = ["EngineSettings", "Scheduler"]


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """How a search is run."""

    trials: Annotated[int, Ge(1)] = 24
    """Evaluated trials that the study holds in the end, those of earlier sessions included."""
    workers: Annotated[int, Ge(1)] = 2
    """Trials that run at the same time. Only one worker gives the same proposals every time, and only in one session: a resumed
    search draws from a seed of its own."""
    cpus_per_worker: Annotated[float, Gt(0)] = 1.0
    """CPU cores of each worker, and the threads it may use, rounded down."""
    gpus_per_worker: Annotated[float, Ge(0)] | None = None
    """GPUs of each worker: a fraction of one, or whole ones; with 0 it sees none and trains on the CPU. None shares those of this
    machine out evenly; on a cluster it is 0."""
    seed: Annotated[int, Ge(0)] = 0
    """Of the sampler and of every trial."""
    sampler: Sampler = Sampler.NSGA2
    """Who proposes genomes."""
    preselect: bool = True
    """Whether a genetic sampler's proposal competes with many more children before a model of what was measured."""
    population: Annotated[int, Ge(2)] | None = None
    """Population of a genetic sampler; None sizes it to the budget."""
    seed_from: str | None = None
    """Study of the same workspace whose front is evaluated first, fitted to this study's space."""
    scheduler: Scheduler = Scheduler.NONE
    """Whether trials that fall behind are stopped early; a stopped trial counts towards the budget and never enters a front."""
    halving: HalvingSettings = field(default_factory=HalvingSettings)
    """How strict the scheduler `halving` is."""
    time_limit_s: Annotated[float, Gt(0)] | None = None
    """No trial begins after this many seconds; those that run are completed, those that wait for a place are left to a resume."""
    trial_timeout_s: Annotated[float, Gt(0)] | None = None
    """A trial that takes longer is ended and failed."""
    trial_memory_bytes: Annotated[int, Gt(0)] | None = None
    """How much memory a trial may take beyond what its process holds before it; more fails the trial. Not applied with GPUs."""
    attempts: Annotated[int, Ge(1)] = 2
    """How often a genome whose worker died is tried in all."""
    failures: Annotated[int, Ge(1)] | None = None
    """Failed trials after which the search gives up; None for half the trials, at least 5."""
    address: str | None = None
    """Ray cluster to join, "auto" for the one of this machine; None starts a private one."""
    worker_resources: Mapping[str, Annotated[float, Gt(0)]] = field(default_factory=dict)
    """Other Ray resources of each worker on a cluster, such as {spot: 1}: keeps trials on the machines that have them."""
    latency_resource: str | None = None
    """Ray resource of the one machine of a cluster that times every trial, such as "latency:h200"; None times in each worker."""
    latency_timeout_s: Annotated[float, Gt(0)] = 300.0
    """A measurement there that takes longer is ended."""
    cluster_wait_s: Annotated[float, Ge(0)] = 300.0
    """How long machines of a cluster may take to join before the search gives up."""

    def __post_init__(self) -> None:
        if (share := self.gpus_per_worker or 0.0) > 1 and share != int(share):
            raise ConfigurationError(f"search.gpus_per_worker is {share:g}: a worker takes a part of one GPU, or whole ones")
        for key in ("latency_resource", "worker_resources"):
            if getattr(self, key) and self.address is None:
                raise ConfigurationError(
                    f"search.{key} is {getattr(self, key)}, but the search runs on this machine alone; name a cluster: --address"
                )

    @property
    def threads(self) -> int:
        """Threads of numerical libraries in each worker."""
        return max(1, int(self.cpus_per_worker))

    @property
    def worker(self) -> dict[str, float]:
        """What one worker takes, by Ray's names of resources."""
        own = {"CPU": self.cpus_per_worker, "GPU": self.gpus_per_worker or 0.0, **self.worker_resources}
        return {name: amount for name, amount in own.items() if amount > 0}
