"""Run a bundle on clips and print the verdict. Its checksums are verified first, and no code of the bundle is run."""

import argparse
from pathlib import Path

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("bundle", type=Path, help="folder of the bundle")
    parser.add_argument("clip", type=Path, nargs="+", help="video file")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Verify and run."""
    from paretolens.exporters import predict_template
    from paretolens.exporters.bundle import verify_bundle

    verify_bundle(options.bundle)
    flags = ["--json"] if options.json else []
    return predict_template.main([*flags, *(str(clip) for clip in options.clip)], options.bundle)
