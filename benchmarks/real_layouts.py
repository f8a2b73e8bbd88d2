"""Every cluster preset on data sets in their real layouts: files, splits, teacher on two processes, search, bundle, verdicts.

The data sets are written here, a few dozen encoded files each with all folders and lists that the published ones have
(`bench_layouts/trees.py`). Then only the command line is used: `data check`, `train-teacher` under torchrun with two gloo
processes, `search` with two trials, `verify` and `predict`. Everything but sizes and lengths is the preset's own; with --whole
sizes are, too, and only samples, epochs and trials are few (minutes per preset and several GB of memory).

    python benchmarks/real_layouts.py [PRESET ...] [--every | --on "DATA SET"] [--whole] [--keep FOLDER]

Prints a table, Markdown. What the figures of accuracy and EPS are says nothing but that they were measured: a network that saw
two dozen drawn pictures a few times has learnt little. Exit code 1 where a step failed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench_layouts import CASES, LAYOUTS, Material

from paretolens.mlflow.table import front_rows
from paretolens.search.finish import pull_front
from paretolens.search.study import load_study
from paretolens.search.workspace import Workspace

PROGRAM = ("-m", "paretolens.search.cli")
TWO = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
FILES = (".mp4", ".png", ".jpg", ".jfif", ".webp")
SMALL = Material(side=48, fps=8)
WHOLE = Material(side=256, fps=25, seconds=4.0)


class FailedError(Exception):
    """A command ended with an error."""


@dataclass(frozen=True)
class Steps:
    """The commands of one preset on one data set."""

    root: Path
    """The data set."""
    workspace: Path
    """Where studies and caches are."""
    preset: str
    settings: tuple[str, ...]

    def check(self) -> None:
        """What the layout is, by split and kind; nothing is decoded."""
        sets = [item for item in self.settings if item.startswith("data.") and "share" in item]
        self._said("data", "check", str(self.root), *_assigned(sets))

    def teacher(self) -> float:
        """Train it on two processes; seconds."""
        began = time.monotonic()
        self._said("train-teacher", *self._named(), before=TWO)
        return time.monotonic() - began

    def search(self) -> float:
        """Two trials, the front and a bundle; seconds."""
        began = time.monotonic()
        self._said("search", "--name", "tried", *self._named())
        return time.monotonic() - began

    def judged(self) -> int:
        """How many of every fourth file of the data set the bundle judged."""
        bundle, files = self.workspace / "studies" / "tried" / "bundle", sorted(files_of(self.root))[::4]
        self._said("verify", str(bundle))
        said = self._said("predict", str(bundle), "--json", *map(str, files))
        return sum(json.loads(line)["verdict"] in ("real", "fake") for line in said.splitlines() if line.startswith("{"))

    def _named(self) -> tuple[str, ...]:
        return ("--preset", self.preset, "--workspace", str(self.workspace), *_assigned(self.settings))

    def _said(self, *arguments: str, before: tuple[str, ...] = ()) -> str:
        command = [sys.executable, *before, *PROGRAM, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise FailedError(f"{' '.join(arguments[:2])} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}")
        return done.stdout


def _assigned(settings: "tuple[str, ...] | list[str]") -> tuple[str, ...]:
    return tuple(word for setting in settings for word in ("--set", setting))


def files_of(root: Path) -> list[Path]:
    """Videos and pictures, without masks."""
    return [path for path in root.rglob("*") if path.suffix in FILES and "masks" not in path.parts]


def tried(preset: str, name: str, folder: Path, *, whole: bool) -> str:
    """One row of the table.

    Raises:
        FailedError: a command ended with an error.
    """
    case, layout = CASES[preset], LAYOUTS[name]
    root = folder / name
    root.mkdir(parents=True)
    layout.write(root, WHOLE if whole else SMALL, 4)
    sizes = () if whole else case.small
    settings = (f"data.path={root}", *layout.settings, *sizes, *case.fast)
    steps = Steps(root, folder / "runs", preset, settings)
    steps.check()
    alone, both = steps.teacher(), steps.search()
    judged = steps.judged()
    return _row(preset, name, steps, teacher_s=alone, search_s=both, judged=judged)


def _row(preset: str, name: str, steps: Steps, *, teacher_s: float, search_s: float, judged: int) -> str:
    workspace = Workspace.at(steps.workspace)
    found = pull_front(load_study(workspace, "tried"))
    teacher, rows = (found.study.teacher if found.study else {}), front_rows(found)
    knee = next(row for row in rows if row["knee"])
    bundle = json.loads((workspace.study("tried") / "bundle" / "manifest.json").read_text())
    cells = (
        preset, name, str(len(files_of(steps.root))), f"{teacher['parameters']:,.0f}", f"{teacher_s:.0f} s", f"{search_s:.0f} s",
        f"{len(rows)} of {len(found.trials)}", f"{teacher['accuracy']:.2f} → {knee['accuracy']:.2f}", f"{knee['eps']:.2f}",
        f"{teacher['size_mb']:.2f} → {knee['size_mb']:.2f} MB", bundle["details"]["trial"], str(judged),
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


@contextmanager
def _place(keep: Path | None) -> Iterator[Path]:
    if keep is not None:
        keep.mkdir(parents=True)
        yield keep
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def main() -> int:
    """Try what is named and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", metavar="PRESET", help=f"of {', '.join(CASES)}; default: all")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--every", action="store_true", help="on every data set of the family, not on the first alone")
    where.add_argument("--on", choices=LAYOUTS, metavar="DATA SET", help=f"on this one alone, of {', '.join(LAYOUTS)}")
    parser.add_argument("--whole", action="store_true", help="leave the preset's sizes as they are")
    parser.add_argument("--keep", type=Path, help="a new folder for data sets and studies; default: one that is removed")
    options = parser.parse_args()
    print(
        "| preset | data set | files | teacher | trained | search | front | accuracy (val) | EPS | file | bundle | judged |\n"
        "|---|---|---|---|---|---|---|---|---|---|---|---|"
    )
    failed = 0
    with _place(options.keep) as place:
        for preset in options.presets or CASES:
            layouts = CASES[preset].layouts
            for name in (options.on,) if options.on else layouts if options.every else layouts[:1]:
                try:
                    print(tried(preset, name, place / preset / name.replace(" ", "-"), whole=options.whole), flush=True)
                except FailedError as error:
                    failed += 1
                    print(f"| {preset} | {name} | FAILED |\n{error}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
