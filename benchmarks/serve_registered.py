"""Serve a registered model with `mlflow models serve` and hold its answers against ONNX Runtime's on real clips.

    paretolens register STUDY
    python benchmarks/serve_registered.py [STUDY] [--alias knee] [--clips 8] [--workspace runs]

Starts the server on loopback, posts preprocessed validation clips as JSON, one by one and all at once, and ends it. Exit code 1
if a logit differs by more than 1e-5.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from paretolens.mlflow.store import open_client
from paretolens.mlflow.ui import free_port, wait_until_up
from paretolens.search.samples import prepared
from paretolens.search.study import Study, load_study
from paretolens.search.workspace import Workspace

TOLERANCE = 1e-5


def main() -> int:
    """Serve, ask, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?")
    parser.add_argument("--alias", default="knee")
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--workspace", type=Path, default=Path("runs"))
    options = parser.parse_args()
    study = load_study(Workspace.at(options.workspace), options.study)
    inputs, expected = reference(study, options.alias, options.clips)
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("w") as log:
        begun, port = time.perf_counter(), free_port()
        command = ["mlflow", "models", "serve", "-m", f"models:/{study.name}@{options.alias}", "--env-manager", "local"]
        programs = Path(sys.executable).parent  # MLflow starts uvicorn by its name
        settings = {"PATH": f"{programs}{os.pathsep}{os.environ['PATH']}", "MLFLOW_TRACKING_URI": study.uri}
        server = subprocess.Popen(
            [sys.executable, "-m", *command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder, env={**os.environ, **settings}, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            wait_until_up(server, f"http://127.0.0.1:{port}", timeout_s=180.0)
            print(f"`{' '.join(command)}` answers after {time.perf_counter() - begun:.1f} s")
            worst = ask(f"http://127.0.0.1:{port}/invocations", inputs, expected)
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            server.wait(20)
    return 0 if worst <= TOLERANCE else 1


def reference(study: Study, alias: str, count: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Preprocessed clips, and what ONNX Runtime says of them with the file in the trial's folder."""
    version = open_client(study.uri).get_model_version_by_alias(study.name, alias)
    run = open_client(study.uri).get_run(version.run_id)
    path = study.folder / "trials" / run.data.tags["paretolens.genome"] / "model.onnx"
    samples = prepared(study.config, study.workspace)["val"]
    names = [spec.name for spec in samples.signature.inputs]
    inputs = {name: x.numpy() for name, x in zip(names, samples.batch(slice(0, count)), strict=True)}
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    print(
        f"{study.name}@{alias}: version {version.version}, {version.tags['paretolens.trial']}, {path.stat().st_size / 1e6:.2f} MB"
    )
    return inputs, session.run(["logit"], inputs)[0]


def ask(address: str, inputs: dict[str, np.ndarray], expected: np.ndarray) -> float:
    """Post clips one by one and all at once; the largest difference of a logit."""
    count, worst = len(expected), 0.0
    for rows in [*(slice(row, row + 1) for row in range(count)), slice(0, count)]:
        body = json.dumps({"inputs": {name: x[rows].tolist() for name, x in inputs.items()}}).encode()
        begun = time.perf_counter()
        answer = post(address, body)
        took = 1000 * (time.perf_counter() - begun)
        own = np.asarray(answer["predictions"]["logit"], dtype=np.float32)
        worst = max(worst, float(np.abs(own - expected[rows]).max()))
        shown = " ".join(f"{logit:+.6f}" for logit in own.reshape(-1)[:4])
        print(f"  {len(own)} clip(s), {len(body) / 1e6:.1f} MB of JSON, {took:.0f} ms: {shown}")
    print(f"largest difference to ONNX Runtime: {worst:.2g}")
    return worst


def post(address: str, body: bytes) -> dict[str, Any]:
    """One request."""
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        content: dict[str, Any] = json.load(answer)
    return content


if __name__ == "__main__":
    sys.exit(main())
