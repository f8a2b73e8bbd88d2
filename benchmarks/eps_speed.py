"""EPS against the plain recipe, side by side in one run.

The plain recipe explains teacher and student with Captum, sample by sample, and compares them with SciPy. Ours keeps the
teacher's maps and scores the student in chunks. Two comparisons:

- the same definition: as many uniform nodes (--nodes) in both, and the same score;
- the default settings of both: Captum's own number of steps (n_steps of its IntegratedGradients) against what a default search
  takes. Both are held against the same definition at many nodes, which is what either would say if it took its time.

Times are CPU seconds of this process: both are warmed up with gradients, then take turns, and the median of --rounds counts. The
image detectors are trained here for a few seconds on planted patches. The audio-visual ones are the teacher and members of the
front of the workspace's last study, on clips of its test split; without a study, untrained ones of the default task's shapes, so
that only times and parity count.

    python benchmarks/eps_speed.py [--only image|audio-visual] [--samples 12] [--nodes 16] [--rounds 3] [--workspace runs]
    python benchmarks/eps_speed.py --memory [--only …]
    python benchmarks/eps_speed.py --teacher A --student B --data DIR       # any pair, as `paretolens eps` takes them

Ends with the goals and whether they hold; exit code 1 if the two recipes' scores differ by more than 1e-5,
or if --memory misses one.
"""

import argparse
import sys
from pathlib import Path

import torch
from bench_eps.cases import Case, image_case, named_case, pinpoint_case, study_case
from bench_eps.compare import SAME, compare
from bench_eps.goal import Goal
from bench_eps.memory import COUNTS, memory

from paretolens.search.workspace import Workspace


def show(goals: list[Goal]) -> int:
    """Print the goals; 1 if one is missed."""
    print("\ngoals")
    for goal in goals:
        print(f"  {goal}")
    return 0 if all(goal.holds for goal in goals) else 1


def audio_visual_case(options: argparse.Namespace) -> Case:
    """The pair that was named, the workspace's last study, or untrained detectors."""
    if all((options.teacher, options.student, options.data)):
        return named_case(options.teacher, {options.student.name: options.student}, options.data, options.samples)
    workspace = Workspace.at(options.workspace)
    if workspace.studies():
        return study_case(workspace, options.samples)
    print(f"{workspace.root} holds no study: times and parity of untrained detectors only", flush=True)
    return pinpoint_case(options.samples)


def main() -> int:
    """Run the cases and say which goals hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=tuple(COUNTS), help="one of both kinds of detectors")
    parser.add_argument("--samples", type=int, default=12, help="clips; four times as many pictures")
    parser.add_argument("--nodes", type=int, default=16, help="of the same definition")
    parser.add_argument("--rounds", type=int, default=3, help="times that each recipe is measured")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--workspace", type=Path, default=Path("runs"))
    for name in ("teacher", "student", "data"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--memory", action="store_true", help="peak memory at two counts instead, and its goals")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    kinds = [options.only] if options.only else [*COUNTS]
    if options.memory:
        return show(memory(kinds))
    goals = []
    for kind in kinds:
        case = image_case(4 * options.samples) if kind == "image" else audio_visual_case(options)
        goals += compare(case, options.nodes, options.rounds)
    show(goals)
    return 1 if any(goal.wanted == SAME and not goal.holds for goal in goals) else 0


if __name__ == "__main__":
    sys.exit(main())
