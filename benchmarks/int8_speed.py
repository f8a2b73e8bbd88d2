"""How much faster int8 makes a student on ONNX Runtime's CPU kernels, by backbone and width; nothing is trained.

    make bench-int8                        (a minute)

Each student is timed in FP32, in int8 as it is run here, and in int8 by the exact, slower products that a processor needs whose
fast ones overflow (x64 without VNNI). One thread, thread CPU time, runs in turns with the calibration model. `in float` counts
convolutions and matrix products that the optimised int8 graph still computes in float: products of attention and the outputs.

Exit code 1 if no ResNet is at least 1.5 times faster, in one of the two ways that this processor may run.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from paretolens.evaluators.latency import Backend, LatencySettings, measure_latency
from paretolens.evaluators.latency.device import cpu_name
from paretolens.exporters import session_options
from paretolens.exporters.onnx import export_onnx
from paretolens.exporters.probe_inputs import probe_tensors
from paretolens.search.cheap import shapes
from paretolens.search.config import Config, load_config
from paretolens.trainers.quantise import freeze, quantisers_off

STUDENTS = (
    ("resnet18", 1.0), ("resnet18", 0.5), ("resnet18", 0.25), ("mobilenet_v3_small", 1.0), ("mobilenet_v3_small", 0.5),
    ("mobilenetv4_conv_small", 0.5), ("shufflenet_v2_x0_5", 1.0),
)  # fmt: skip
FLOAT = ("Conv", "FusedConv", "MatMul", "FusedMatMul", "Gemm")
GOAL = 1.5


@dataclass(frozen=True, kw_only=True)
class Row:
    """One student; times in ms."""

    name: str
    fp32: float
    int8: float
    exact: float
    sizes: tuple[int, int]
    in_float: dict[str, int]

    def __str__(self) -> str:
        smaller, left = self.sizes[0] / self.sizes[1], ", ".join(f"{count} {name}" for name, count in self.in_float.items())
        return (
            f"| {self.name} | {self.fp32:.2f} | {self.int8:.2f} | {self.fp32 / self.int8:.2f}× | {self.exact:.2f} | "
            f"{self.fp32 / self.exact:.2f}× | {smaller:.1f}× | {left} |"
        )


def rows(config: Config, runs: int, folder: Path) -> Iterator[Row]:
    """Each student as soon as it is timed."""
    family = config.make_family()
    signature = family.signature(config.make_model_settings())
    settings = LatencySettings(runs=runs, seconds=20.0)

    def timed(path: Path) -> float:
        return measure_latency(path, Backend.ONNXRUNTIME, settings).latency_ms

    for backbone, width in STUDENTS:
        wish = {"backbone": backbone, "backbone_width": width, "prune_ratio": 0.0, "rank_energy": 1.0, "qat": True}
        *_, (_, student) = shapes({**config.make_space().default(), **wish}, config)
        freeze(student)
        example, rounded, whole = probe_tensors(signature), folder / "int8.onnx", folder / "fp32.onnx"
        sizes = export_onnx(student, signature, example, rounded).size_bytes
        with quantisers_off(student):
            sizes = (export_onnx(student, signature, example, whole).size_bytes, sizes)
        fast = timed(whole), timed(rounded)
        yield Row(
            name=f"{backbone} ×{width:g}", fp32=fast[0], int8=fast[1], exact=exactly(lambda path=rounded: timed(path)),
            sizes=sizes, in_float=left_in_float(rounded, folder),
        )  # fmt: skip


def exactly(work: Any) -> float:
    """Do it as on a processor whose fast products overflow."""
    kept = session_options.int8_products_saturate
    session_options.int8_products_saturate = lambda: True  # type: ignore[assignment]  # a stand-in for another processor
    try:
        found: float = work()
    finally:
        session_options.int8_products_saturate = kept
    return found


def left_in_float(path: Path, folder: Path) -> dict[str, int]:
    """Operators of the optimised graph that multiply floats."""
    import onnx
    import onnxruntime

    options = session_options.session_options()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    found = Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)
    return {name: found[name] for name in FLOAT if found[name]}


def main() -> int:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100, help="runs that count (default: %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = load_config(preset="default", flags={})
    print(f"{cpu_name()}; fast int8 products {'overflow' if session_options.int8_products_saturate() else 'are exact'}\n")
    heads = ("student", "FP32 ms", "INT8 ms", "faster", "INT8 exact ms", "faster", "smaller", "in float")
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True)
    best = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for row in rows(config, options.runs, Path(folder)):
            print(row, flush=True)
            best = max(best, row.fp32 / min(row.int8, row.exact) if row.name.startswith("resnet") else 0.0)
    print(
        f"\na ReLU ResNet student is up to {best:.2f}× faster in int8, goal {GOAL}×: {'holds' if best >= GOAL else 'falls short'}"
    )
    return 0 if best >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
