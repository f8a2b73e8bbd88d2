"""The files that start clusters: what can be known of them without a cloud, a Kubernetes or a Slurm."""

import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from paretolens.errors import BackendError, ConfigurationError
from paretolens.search.cli import search as search_command
from paretolens.search.cli.main import Parser
from paretolens.search.cluster.shared import check_libraries, look
from paretolens.search.config import load_config
from paretolens.search.origin import library_versions

CLUSTER = Path(__file__).parents[3] / "search" / "cluster"


def parsed(line: str) -> Any:
    """The configuration that a `paretolens search …` line makes."""
    parser = Parser(prog="paretolens search")
    search_command.add_arguments(parser)
    options = parser.parse_args(shlex.split(line)[2:])
    return load_config(
        preset=options.preset or "default", file=None, assignments=options.assignments, flags=search_command._flags(options)
    )


def test_the_launcher_file_is_valid_for_this_ray() -> None:
    from ray.autoscaler._private.util import fillout_defaults, validate_config  # type: ignore[attr-defined]

    config = yaml.safe_load((CLUSTER / "ray-cluster.yaml").read_text())
    provider = dict(config["provider"])
    validate_config(fillout_defaults(config))
    assert provider["type"] == "aws"
    kinds = config["available_node_types"]
    assert (
        kinds["latency"]["max_workers"] == kinds["latency"]["min_workers"] == kinds["latency"]["resources"]["latency:h200"] == 1
    )
    assert kinds["head"]["resources"]["CPU"] == 0
    commands = [
        line for key in ("head_start_ray_commands", "worker_start_ray_commands") for line in config[key] if "ray start" in line
    ]
    assert all(line.startswith("RAY_AUTH_MODE=token ") for line in commands)


def test_the_rayjob_runs_a_search_that_the_command_line_takes() -> None:
    job = yaml.safe_load((CLUSTER / "rayjob.yaml").read_text())
    script = shlex.split(job["spec"]["entrypoint"])
    assert script[:2] == ["sh", "-c"]
    subprocess.run(["sh", "-n", "-c", script[2]], check=True)
    line = script[2].partition("exec ")[2]
    config = parsed(line.replace("$resume", ""))
    assert (config.search.address, config.search.latency_resource) == ("auto", "latency:h200")
    assert config.search.worker == {"CPU": 2.0, "GPU": 0.5, "spot": 1.0}
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    groups = {group["groupName"]: group for group in cluster["workerGroupSpecs"]}
    offered = {name: yaml.safe_load(yaml.safe_load(group["rayStartParams"]["resources"])) for name, group in groups.items()}
    assert offered == {"spot": {"spot": 2}, "latency": {"latency:h200": 1}}
    assert groups["latency"]["minReplicas"] == groups["latency"]["maxReplicas"] == 1
    pods = [cluster["headGroupSpec"], *groups.values()]
    mounts = [pod["template"]["spec"]["containers"][0]["volumeMounts"][0]["mountPath"] for pod in pods]
    assert set(mounts) == {"/shared"}


def test_the_slurm_script_is_sound() -> None:
    script = CLUSTER / "slurm.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    if found := shutil.which("shellcheck"):
        done = subprocess.run([found, str(script)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    directives = [line.split()[1] for line in script.read_text().splitlines() if line.startswith("#SBATCH ")]
    assert {"--signal=B:USR1@60", "--requeue", "--open-mode=append"} <= set(directives)
    nameless = subprocess.run(["bash", str(script), "--trials", "3"], capture_output=True, text=True, check=False)
    assert (nameless.returncode, nameless.stderr.count("\n")) == (2, 1)
    assert "--name" in nameless.stderr


def test_keys_of_a_cluster_do_not_make_another_study() -> None:
    alone, there = (
        parsed("paretolens search"),
        parsed("paretolens search --address auto --set search.latency_resource=latency:h200"),
    )
    assert alone.identity() == there.identity()
    assert parsed("paretolens search --address local").search.address is None


def test_what_only_a_cluster_has_is_refused_without_one() -> None:
    with pytest.raises(ConfigurationError, match=r"search\.worker_resources is .*spot.*: --address"):
        parsed("paretolens search --set search.worker_resources.spot=1")


def test_machines_with_other_libraries_are_named() -> None:
    here = library_versions(("timm", "torch-pruning", "scipy", "filelock"))
    same = look("/nowhere")["libraries"]
    assert here.items() <= same.items()
    check_libraries({"one": same, "two": {**same, "tensorrt-cu13": "10.13"}})
    for name in here:
        with pytest.raises(BackendError, match=rf"driver's versions; {name} 0\.1 on two, here"):
            check_libraries({"one": same, "two": {**same, name: "0.1"}})
    with pytest.raises(BackendError, match=r"with tensorrt-cu13 must have the same version; found 10\.13 on one, 10\.14 on two"):
        check_libraries({"one": {**same, "tensorrt-cu13": "10.13"}, "two": {**same, "tensorrt-cu13": "10.14"}})
