"""Run a bundle on clips and print the verdict. The bundle is verified first; its own predict.py does the work."""

import argparse
import subprocess
import sys
from pathlib import Path

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("bundle", type=Path, help="folder of the bundle")
    parser.add_argument("clip", type=Path, nargs="+", help="video file")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Verify and run."""
    from paretolens.exporters.bundle import verify_bundle

    verify_bundle(options.bundle)
    flags = ["--json"] if options.json else []
    clips = [str(clip) for clip in options.clip]
    return subprocess.run([sys.executable, str(options.bundle / "predict.py"), *flags, *clips], check=False).returncode
