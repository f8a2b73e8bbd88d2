"""Peak memory of inference, measured in a fresh process so that nothing else is counted.

The process imports numpy and ONNX Runtime, notes its resident memory, loads the model, runs it, and reads the peak of its
resident memory (`exporters.process_memory`).
`python -m paretolens.evaluators.memory MODEL BATCH THREADS RUNS` is that process.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from paretolens.errors import BackendError

__all__ = ["PeakMemory", "peak_memory"]

TIMEOUT_S = 300.0


@dataclass(frozen=True, kw_only=True)
class PeakMemory:
    """Memory of a process that runs one ONNX model."""

    model_bytes: int
    """Peak of resident memory while loading and running, minus what the process held before: the model's share."""
    process_bytes: int
    """Peak of the whole process: what a device must have free, interpreter and runtime with it."""


def peak_memory(path: Path, *, batch: int = 1, threads: int = 1, runs: int = 5) -> PeakMemory:
    """Load and run an ONNX model in a fresh process.

    Args:
        path: ONNX file.
        batch: Samples per run.
        threads: Threads of the session.
        runs: Number of runs; the first ones grow the arena.

    Raises:
        BackendError: the process failed; its last line is quoted.
    """
    command = [sys.executable, "-m", "paretolens.evaluators.memory", str(path), str(batch), str(threads), str(runs)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
        before, peak = json.loads(done.stdout.splitlines()[-1])
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or [f"exit code {error.returncode}"])[-1]
        raise BackendError(f"peak memory of {path.name} could not be measured: {reason}") from error
    except (subprocess.TimeoutExpired, IndexError, ValueError) as error:
        raise BackendError(f"peak memory of {path.name} could not be measured: {error}") from error
    return PeakMemory(model_bytes=peak - before, process_bytes=peak)


def main(arguments: list[str]) -> None:
    """Measure in this process and print `[before, peak]` in bytes."""
    from paretolens.exporters.probe_inputs import probe_inputs
    from paretolens.exporters.process_memory import peak_bytes, reset_peak, resident_bytes
    from paretolens.exporters.runner import OnnxRunner

    path, batch, threads, runs = Path(arguments[0]), int(arguments[1]), int(arguments[2]), int(arguments[3])
    import onnxruntime  # noqa: F401  (part of what is held before)

    before = resident_bytes()
    reset_peak()
    runner = OnnxRunner(path, threads=threads)
    inputs = probe_inputs(runner.session, batch=batch)
    for _ in range(runs):
        runner.run(inputs)
    print(json.dumps([before, max(peak_bytes(), before)]))


if __name__ == "__main__":
    main(sys.argv[1:])
