"""What the default search reached, read back from its MLflow store: the README's table and the claims made beside it.

    make search
    python benchmarks/default_search.py [STUDY] [--workspace runs]

Prints Markdown. Exit code 1 if a claim does not hold for the study.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from paretolens.mlflow.chart import half_up
from paretolens.mlflow.table import front_rows
from paretolens.search.finish import pull_front
from paretolens.search.study import load_study
from paretolens.search.workspace import Workspace

POINTS = 0.02
FASTER, SMALLER, MEMBERS = 5.0, 10.0, 5


def table(teacher: dict[str, float], rows: list[dict[str, Any]]) -> str:
    """The front as Markdown, the teacher first."""
    lines = ["| | accuracy (val) | latency | faster | size | smaller | EPS [95 %] |", "|---|---|---|---|---|---|---|"]
    own = f"{half_up(teacher['accuracy'], 3)} | {teacher['latency_ms']:.2f} ms | | {teacher['size_mb']:.2f} MB"
    lines.append(f"| teacher | {own} | | 1 |")
    for row in rows:
        mark = " (knee)" if row["knee"] else ""
        fast = f"{row['latency_ms']:.2f} ms | {row['speed_up']:.1f}x"
        small = f"{row['size_mb']:.2f} MB | {row['size_ratio']:.1f}x"
        eps = f"{row['eps']:.3f} [{row['eps_low']:.3f}, {row['eps_high']:.3f}]"
        lines.append(f"| {row['trial']}{mark} | {half_up(row['accuracy'], 3)} | {fast} | {small} | {eps} |")
    return "\n".join(lines)


def claims(teacher: dict[str, float], rows: list[dict[str, Any]]) -> dict[str, bool]:
    """What the README says of the default search, and whether it holds."""
    near = [row for row in rows if row["accuracy"] >= teacher["accuracy"] - POINTS]
    both = [row for row in near if row["speed_up"] >= FASTER and row["size_ratio"] >= SMALLER]
    apart = max(rows, key=lambda row: row["eps_low"])["eps_low"] > min(rows, key=lambda row: row["eps_high"])["eps_high"]
    return {
        f"at least {MEMBERS} members ({len(rows)})": len(rows) >= MEMBERS,
        f"{FASTER:g}x faster and {SMALLER:g}x smaller within {100 * POINTS:g} points of the teacher ({len(both)})": bool(both),
        "EPS differs between members by more than its interval": apart,
    }


def main() -> int:
    """Print the table and the claims."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?")
    parser.add_argument("--workspace", type=Path, default=Path("runs"))
    options = parser.parse_args()
    found = pull_front(load_study(Workspace.at(options.workspace), options.study))
    teacher = found.study.teacher if found.study else {}
    rows = front_rows(found)
    print(table(teacher, rows))
    print(f"\nTeacher: test accuracy {half_up(teacher['test_accuracy'], 3)}, test AUC {teacher['test_auc']:.3f}.")
    held = claims(teacher, rows)
    for text, holds in held.items():
        print(f"- {'holds' if holds else 'DOES NOT HOLD'}: {text}")
    return 0 if all(held.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
