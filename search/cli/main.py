"""Entry point: parses the command, runs its module, turns errors into one line and an exit code.

Exit codes: 0 done, 1 something failed that is not the user's input, 2 bad input, 130 stopped with Ctrl-C, 143 with
SIGTERM, 138 with SIGUSR1.
"""

import argparse
import importlib
import logging
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from paretolens import __version__
from paretolens.errors import ParetolensError, UserError
from paretolens.naming import nearest
from paretolens.search import environment
from paretolens.search.cli.common import require_studies

__all__ = ["main"]

COMMANDS = {
    "search": "search for students (start here)",
    "front": "show a study's Pareto front, read back from MLflow",
    "explore": "write the Pareto explorer, a page to choose a model from",
    "compare": "hold searches against each other: hypervolume, coverage, who dominates whom",
    "report": "write a study's report: setting, front, chosen model, limits, how to reproduce it",
    "export": "write a member of the front as a bundle that runs on its own",
    "register": "put members of the front into MLflow's model registry",
    "predict": "run a bundle on a clip, a folder of clips, or a stream",
    "bench": "measure a bundle or a file: latency, throughput, memory, energy",
    "retarget": "measure a study's artefacts on another device and pull its front",
    "verify": "check a bundle: checksums, manifest, stored samples",
    "eps": "score how well one saved model explains itself as another does",
    "baseline": "train or load the teacher and report what it scores and costs",
    "train-teacher": "train the teacher ahead of a search, on one process or several (torchrun)",
    "data": "make samples, check a data set on disk, show the layouts that can be read",
    "validate-eps": "check on a study's own models that EPS measures what it says",
    "preview": "tell before a search how long it takes and whether its limits can be met",
    "cache": "show and prune what is kept between studies",
    "families": "list the families of models: what they take, built-in configurations, what is asserted",
    "space": "print what may vary in a family's students",
    "replay": "compare samplers and schedulers on a recorded search, without training",
    "ui": "open the MLflow UI on the workspace's store",
    "doctor": "tell what this machine has and what that means",
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, name the nearest flag and end with exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Print one line and exit."""
        prefix = "unrecognized arguments: "
        if message.startswith(prefix):
            flags = [flag for action in self._actions for flag in action.option_strings if flag.startswith("--")]
            wrong = message.removeprefix(prefix).split()[0]
            message = f"unknown argument {wrong}{nearest(wrong.split('=')[0], flags)}"
        self.exit(2, f"{self.prog}: {message}; see '{self.prog} --help'\n")


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGUSR1: ends a command as Ctrl-C does, so that what it started (servers, runs) is ended too."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    overview = _overview()
    if not arguments or arguments[0] in ("-h", "--help"):
        overview.print_help()
        return 0
    if arguments[0] == "--version":
        print(f"paretolens {__version__}")
        return 0
    name = arguments[0]
    if name not in COMMANDS:
        overview.error(f"unknown command {name}{nearest(name, list(COMMANDS))}")
    return _run(name, arguments[1:])


def _overview() -> Parser:
    lines = "\n".join(f"  {name:<13} {text}" for name, text in COMMANDS.items())
    return Parser(
        prog="paretolens",
        usage="paretolens COMMAND [options]",
        description="Search for small, fast students of a large detector which still explain themselves as the teacher does.",
        epilog=f"commands:\n{lines}\n\n'paretolens COMMAND --help' explains each.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _run(name: str, arguments: Sequence[str]) -> int:
    command = importlib.import_module(f"paretolens.search.cli.{name.replace('-', '_')}")
    parser = Parser(prog=f"paretolens {name}", description=command.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_arguments(parser)
    options = parser.parse_args(arguments)
    debug = environment.debug()
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, _terminate)
    try:
        require_studies(options)
        return int(command.run(options))
    except Terminated as stop:
        print(f"stopped by {stop}", file=sys.stderr)
        return 128 + stop.number
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away (`| head`)
        return 0
    except UserError as error:
        return _fail(name, error, 2, debug)
    except (ParetolensError, OSError) as error:
        return _fail(name, error, 1, debug)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)  # a second one ends it at once
    raise Terminated(number)


def _fail(name: str, error: Exception, code: int, debug: bool) -> int:
    if debug:
        raise error
    print(f"paretolens {name}: {' '.join(str(error).split())}", file=sys.stderr)
    return code
