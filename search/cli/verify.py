"""Check a bundle: every checksum, the manifest, and its stored samples run through the runtime. No code of the bundle is run."""

import argparse
from pathlib import Path

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    parser.add_argument("bundle", type=Path, help="folder of the bundle")


def run(options: argparse.Namespace) -> int:
    """One line per check; the first that fails ends it with exit code 2."""
    from paretolens.exporters.bundle import check_files
    from paretolens.exporters.manifest import read_manifest
    from paretolens.exporters.sample import check_sample

    sums = check_files(options.bundle)
    print(f"files     ok: {len(sums)} match SHA256SUMS, none is missing, unknown or outside of the folder")
    manifest = read_manifest(options.bundle, sums)
    model = manifest["model"]
    print(f"manifest  ok: format {manifest['format']}, {manifest['name']}, {model['file']} ({model['precision']})")
    difference = check_sample(options.bundle, manifest)
    sample, runtime = manifest["sample"], manifest["versions"]["onnxruntime"]
    print(
        f"samples   ok: {sample['count']} give the recorded logits, largest difference {difference:.2g} "
        f"(allowed {sample['tolerance']:.2g}; recorded with onnxruntime {runtime})"
    )
    return 0
