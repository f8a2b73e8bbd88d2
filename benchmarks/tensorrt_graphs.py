"""What TensorRT's precisions cost a finished study's students, as far as that shows without a GPU.

`python benchmarks/tensorrt_graphs.py [STUDY] [--workspace runs]`: every complete trial's file is written as TensorRT is given it,
parsed by TensorRT where one is installed, and run by ONNX Runtime on the validation clips, without its optimisations.
"""

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from paretolens.errors import BackendError
from paretolens.exporters.onnx import read_precision
from paretolens.exporters.runner import OnnxRunner
from paretolens.exporters.tensorrt import EnginePrecision, check_operators, flavours, tensorrt_graph
from paretolens.models.decision import flat, verdicts
from paretolens.search.samples import prepared
from paretolens.search.score import BATCH
from paretolens.search.study import load_study
from paretolens.search.workspace import Workspace

KINDS = (EnginePrecision.TRAINED, EnginePrecision.FP16)


@dataclass(frozen=True, kw_only=True)
class Found:
    """One graph beside the file it was made from."""

    agreement: float
    """Share of equal verdicts."""
    difference: float
    """Largest absolute difference of a logit."""
    mean: float
    """Mean absolute difference of the logits."""
    accuracy: float
    """Change of the accuracy."""
    size: float
    """Bytes of the graph over those of the file."""


def main() -> int:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", nargs="?", default="")
    parser.add_argument("--workspace", type=Path, default=Path("runs"))
    options = parser.parse_args()
    workspace = Workspace.at(options.workspace)
    study = load_study(workspace, options.study or None)
    samples = prepared(study.config, workspace)["val"]
    batch = samples.batch(slice(0, len(samples)))
    inputs = {spec.name: value.numpy() for spec, value in zip(samples.signature.inputs, batch, strict=True)}
    rows: dict[tuple[str, EnginePrecision], list[Found]] = defaultdict(list)
    refused = 0
    for path in sorted((study.folder / "trials").glob("*/model.onnx")):
        before, kind = _logits(path, inputs), read_precision(path)
        for precision in KINDS:
            try:
                rows[kind, precision].append(_compare(path, precision, before, inputs, samples.labels))
            except BackendError as error:
                refused += 1
                print(f"{path.parent.name}, {precision}: {error}")
    library = next((f"{one.name} {one.version}" for one in flavours() if one.usable), "")
    print(
        f"study {study.name}, {len(samples)} validation clips; {refused} graphs refused" + (f" by {library}" if library else "")
    )
    print("| students | graph | same verdict | largest difference | mean difference | change of accuracy | size |")
    print("|---|---|---|---|---|---|---|")
    for (kind, precision), found in sorted(rows.items()):
        print(
            f"| {len(found)} {kind} | {precision} | {np.mean([one.agreement for one in found]):.2%}, "
            f"least {min(one.agreement for one in found):.2%} | {max(one.difference for one in found):.3g} | "
            f"{np.mean([one.mean for one in found]):.3g} | {min(one.accuracy for one in found):+.2%} to "
            f"{max(one.accuracy for one in found):+.2%} | {np.mean([one.size for one in found]):.2f} |"
        )
    return 1 if refused else 0


def _compare(
    path: Path, precision: EnginePrecision, before: np.ndarray, inputs: Mapping[str, np.ndarray], labels: np.ndarray
) -> Found:
    parsed = any(one.usable for one in flavours())
    graph = check_operators(path, precision=precision) if parsed else tensorrt_graph(path, precision)
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "graph.onnx"
        written.write_bytes(graph.content)
        after = _logits(written, inputs) if graph.changed else before
    difference = np.abs(after - before)
    return Found(
        agreement=float(np.mean(verdicts(after) == verdicts(before))),
        difference=float(difference.max()),
        mean=float(difference.mean()),
        accuracy=float(np.mean(verdicts(after) == labels) - np.mean(verdicts(before) == labels)),
        size=len(graph.content) / path.stat().st_size,
    )


def _logits(path: Path, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    run, count = OnnxRunner(path, optimise=False).run, len(next(iter(inputs.values())))
    parts = [{name: value[at : at + BATCH] for name, value in inputs.items()} for at in range(0, count, BATCH)]
    return flat(np.concatenate([run(part)["logit"] for part in parts]))


if __name__ == "__main__":
    raise SystemExit(main())
