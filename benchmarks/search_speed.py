"""The engine beside what a user would put together, in one run: the same genomes, trained the same way, on the same two cores.

    make bench-search                    (twenty to thirty minutes on two idle cores; ARGS='--only a,d' for some arms)
    python benchmarks/search_speed.py [--trials 5] [--clips 192] [--epochs 3] [--samples 16] [--limit 15%] [--only a,b,d]

(a) Tuner + OptunaSearch + MLflowLoggerCallback with the plain trial (bench_search/plain.py says what is in it), two at once
    beside it once more with as many gradients a map as the engine takes (a-equal)
(b) plain Optuna, NSGA-II with its own population, in one process with two threads, the same trial
(c) the engine with its limits, its cache of stages or its cache of the teacher's outputs switched off, or early stopping on
(d) the engine as it is by default, with the limit that the task sets

Measured live: (d) proposes genomes until it has trained --trials students within the limit; every other arm is given the very
same genomes, and what each takes of a worker is measured. A trial is a student that was trained, exported and scored: genomes
that the limit ended before are told apart, and what they took counts against the arm. An arm's time begins before Ray does.

Replayed (search/replay, on a virtual clock): what each arm's own sampler finds in the time that (b) takes for --budget trials,
over --seeds seeds, a trial taking what was measured. Early stopping is off by default.

Every arm's figures are kept under --folder, named by code, libraries and machine: what was interrupted goes on arm by arm with
the same command. Prints Markdown.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console

from bench_search.replays import Arm, Outcome, limit_that_leaves, replay
from bench_search.report import Measured, breakdown, median_share, table
from bench_search.running import ARMS, live
from bench_search.stock import NSGA2_POPULATION
from bench_search.task import Plan, date_of, made_with, once_of, prepare
from paretolens.data.store import digest_of_json
from paretolens.errors import BackendError
from paretolens.search.live import clock
from paretolens.search.progress import ConsoleSteps
from paretolens.search.replay import Source, Table, read_table
from paretolens.search.replay.nasbench import nasbench_table
from paretolens.search.sampling import Sampler, population_size

TITLES = {
    "a": "(a) Tuner + OptunaSearch + MLflowLoggerCallback",
    "a-equal": "(a) with as many gradients a map as the engine",
    "b": "(b) Optuna NSGA-II, one process, its own population of 50",
    "b-fitted": "(b) with a population fitted to the budget",
    "limits": "(c) engine without limits",
    "teacher": "(c) engine without the teacher's cached outputs",
    "stages": "(c) engine without the cache of stages",
    "halving": "(c) engine with early stopping on",
    "d": "(d) engine, all on as by default",
    "random": "engine, random search (floor)",
}
HERE = Path(__file__).parent
REPLAYS = ("bench_search/replays.py", "bench_search/stock.py")
MORE_RATE, LESS_TIME = 5.0, 0.25


def contenders(measured: Mapping[str, Measured], *, limited: bool) -> list[Arm]:
    """The arms as the replay takes them; without a limit and epochs, those that would equal (d) are left out."""
    default, found = measured["d"], []
    cheap = default.parts["cheap figures"]
    refused = default.refused_seconds or cheap
    for name in ("limits", "teacher", "stages", "halving", "d", "random"):
        own = measured.get("d" if name in ("random", "halving") else name)
        if own is None or (name == "halving" and name not in measured) or (name in ("limits", "halving") and not limited):
            continue
        random = name == "random"
        found.append(
            Arm(
                name=name,
                sampler=Sampler.RANDOM if random else Sampler.NSGA2,
                preselect=not random,
                seconds=own.trained_seconds,
                refused=None if name == "limits" else refused,
                told=name != "limits",
                halving=name == "halving",
            )
        )
    for name in ("a-equal", "a"):
        if name in measured:
            seconds = measured[name].trained_seconds
            found.insert(0, Arm(name=name, sampler=Sampler.TPE, stock=True, seconds=seconds, refused=None, told=False))
    return found


def plain_optuna(one: Measured, name: str, population: int) -> Arm:
    """(b) with a population."""
    return Arm(
        name=name, sampler=Sampler.NSGA2, stock=True, population=population, workers=1, seconds=one.trained_seconds, refused=None
    )


def replayed(
    folder: Path, measured: Mapping[str, Measured], options: argparse.Namespace, say: Console
) -> dict[str, dict[str, Outcome]]:
    """Both tables, read back where the same figures were replayed before by the same code."""
    reference = plain_optuna(measured["b"], "b", NSGA2_POPULATION)
    fitted = plain_optuna(measured["b"], "b-fitted", population_size(trials=options.budget, workers=1))
    found: dict[str, dict[str, Outcome]] = {}
    for ground in grounds(options.table, measured["d"], say):
        arms = [reference, fitted, *contenders(measured, limited=bool(ground.limits))]
        content = {"arms": [asdict(arm) for arm in arms], "limits": ground.limits, "budget": options.budget}
        made = {"seeds": options.seeds, "made_with": made_with(*REPLAYS), "table": digest_of_rows(ground.table)}
        key = digest_of_json({**content, **made})
        path = folder / f"replay-{ground.title.split()[0]}.json"
        stored = json.loads(path.read_text()) if path.exists() else {}
        if stored.get("key") == key:
            say.print(f"replay of {ground.title}: kept from {date_of(path)}", highlight=False)
        else:
            outcomes = replay(
                ground.table, arms, reference=reference, limits=ground.limits, budget=options.budget, seeds=options.seeds,
                progress=_Progress(ground.title, say),
            )  # fmt: skip
            stored = {"key": key, "outcomes": {name: asdict(outcome) for name, outcome in outcomes.items()}}
            path.write_text(json.dumps(stored))
        found[ground.title] = {name: Outcome(**{k: tuple(v) for k, v in one.items()}) for name, one in stored["outcomes"].items()}
    return found


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What is replayed on."""

    title: str
    table: Table
    limits: Mapping[str, float]


def grounds(path: Path, default: Measured, say: Console) -> list[Ground]:
    """On the recorded study the limit lies where it leaves the same share of random genomes as it did live."""
    source = Source(read_table(path))
    told = ", ".join(f"{name} {share:.2f}" for name, share in source.held_out.items())
    share = default.within / (default.trained + default.refused)
    limit = limit_that_leaves(source, "latency_ms", share)
    say.print(f"{source.table.name}: variance that guesses explain on held-out trials: {told}", highlight=False)
    say.print(f"its limit: {limit:.3f} ms, which {100 * share:.0f} % of random genomes keep to, as live", highlight=False)
    title = f"own study (guesses explain {100 * source.held_out['latency_ms']:.0f} % of the variance of latency)"
    found = [Ground(title=title, table=source.table, limits={"latency_ms": limit})]
    try:
        found.append(Ground(title="NAS-Bench-201", table=nasbench_table("cifar10"), limits={}))
    except BackendError as error:
        say.print(f"NAS-Bench-201 is left out: {error}", highlight=False)
    return found


def digest_of_rows(table: Table) -> str:
    """Names a table's content."""
    return digest_of_json([[dict(row.genome), dict(row.values), row.seconds] for row in table.rows])


class _Progress:
    """Tells every few searches how long it will take."""

    def __init__(self, title: str, say: Console) -> None:
        self._title, self._say, self._began = title, say, time.monotonic()

    def __call__(self, done: int, total: int) -> None:
        """After each search."""
        if done % 5 == 0:
            left = clock((time.monotonic() - self._began) / done * (total - done))
            self._say.print(f"replay of {self._title}: {done} of {total} searches, about {left} left", highlight=False)


def goals(measured: Mapping[str, Measured], replays: Mapping[str, Mapping[str, Outcome]]) -> list[str]:
    """What was asked for, and what came out."""
    said = []
    for name, gradients in (("a", "Captum's default of 50 steps"), ("a-equal", "as many gradients a map as the engine")):
        if {name, "d"} <= measured.keys():
            ratio = measured["d"].trained_per_hour / measured[name].trained_per_hour
            said.append(
                f"{ratio:.2f}x the trained trials per hour of (a) with {gradients}; the goal is {MORE_RATE:g}x: "
                f"{_met(ratio >= MORE_RATE)} (genomes refused by the limit are not counted, only their time)"
            )
    for title, found in replays.items():
        share = median_share(found["d"])
        said.append(
            f"{title}: (b)'s final hypervolume after {100 * share:.0f} % of its time (median over the seeds); the goal is "
            f"{100 * LESS_TIME:.0f} %: {_met(share <= LESS_TIME)}"
        )
    return said


def _met(holds: bool) -> str:
    return "met" if holds else "NOT MET"


def options_of() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--trials", type=int, default=5, help="students within the limit that (d) trains live (default: %(default)s)"
    )
    parser.add_argument("--clips", type=int, default=192, help="training clips (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=3, help="epochs of distillation (default: %(default)s)")
    parser.add_argument("--samples", type=int, default=16, help="explained clips (default: %(default)s)")
    parser.add_argument("--limit", default="15%", help="share of the teacher's latency that a student may take (default: 15 %%)")
    parser.add_argument(
        "--captum-steps", type=int, default=50, help="gradients per map in (a) and (b) (default: Captum's own, 50)"
    )
    parser.add_argument("--only", default=",".join(ARMS), help="arms to run beside d, of %(default)s")
    parser.add_argument("--budget", type=int, default=24, help="trials of (b) in the replays (default: %(default)s)")
    parser.add_argument("--seeds", type=int, default=5, help="of the replays; 0 leaves them out (default: %(default)s)")
    parser.add_argument("--table", type=Path, default=HERE / "tables" / "default.json", help="recorded study to replay")
    parser.add_argument("--folder", type=Path, default=Path("runs") / "bench-search", help="where figures are kept")
    options = parser.parse_args()
    if unknown := set(options.only.split(",")) - ARMS.keys():
        parser.error(f"--only {','.join(sorted(unknown))}: choose of {', '.join(ARMS)}")
    return options


def main() -> int:
    """Measure, replay, print."""
    options, say, began = options_of(), Console(width=160), time.monotonic()
    plan = Plan(
        genomes=options.trials, clips=options.clips, epochs=options.epochs, samples=options.samples, limit=options.limit,
        captum_steps=options.captum_steps,
    )  # fmt: skip
    folder = options.folder.resolve() / plan.digest()
    _, task = prepare(folder, plan, ConsoleSteps(say))
    measured = live(folder, plan, options.only.split(","), task, say)
    replays = replayed(folder, measured, options, say) if options.seeds and "b" in measured else {}
    (folder / "result.json").write_text(
        json.dumps({"plan": asdict(plan), "measured": {name: asdict(one) for name, one in measured.items()},
                    "replays": {t: {n: asdict(o) for n, o in found.items()} for t, found in replays.items()}}, indent=1)
    )  # fmt: skip
    print(f"\n{table(measured, replays, TITLES, base='a')}\n\n{breakdown(measured, TITLES)}\n")
    once = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in once_of(folder).items())
    print(f"Once, before all arms: {once}. Data and teacher are everybody's; the rest only the engine needs.\n")
    for line in goals(measured, replays):
        print(f"- {line}")
    say.print(f"\n{clock(time.monotonic() - began)} in all; figures in {folder / 'result.json'}", highlight=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
