"""The files that start clusters: what can be known of them without a cloud, a Kubernetes or a Slurm."""

import os
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from paretolens import __version__
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
    assert kinds["head"]["resources"] == {"CPU": 0, "GPU": 0}
    assert all(kind["node_config"]["ImageId"] == "ami-CHANGE" for kind in kinds.values())  # the launcher's own is too old
    commands = [
        line for key in ("head_start_ray_commands", "worker_start_ray_commands") for line in config[key] if "ray start" in line
    ]
    assert all(line.startswith("RAY_AUTH_MODE=token ") for line in commands)


def test_the_launchers_machines_can_run_the_search_that_the_page_starts() -> None:
    page = (CLUSTER.parents[1] / "docs" / "cluster.md").read_text(encoding="utf-8")
    inner = page.partition("ray-cluster.yaml 'RAY_AUTH_MODE=token ~/venv/bin/")[2].partition("'")[0]
    search = parsed(inner.replace("\\\n", " ")).search
    config = yaml.safe_load((CLUSTER / "ray-cluster.yaml").read_text())
    spot = config["available_node_types"]["spot"]
    assert all(search.worker[name] * 2 == spot["resources"][name] for name in ("CPU", "GPU", "spot"))  # two on each machine
    assert spot["max_workers"] * 2 >= search.workers
    assert search.latency_resource in config["available_node_types"]["latency"]["resources"]
    installs = "".join(config["setup_commands"]), "".join(config["head_setup_commands"])
    assert all("/shared/paretolens" in commands and "~/venv/bin/python" in commands for commands in installs)


def test_the_image_has_what_the_lock_says_and_the_package() -> None:
    lines = (CLUSTER / "Dockerfile").read_text().splitlines()
    job = yaml.safe_load((CLUSTER / "rayjob.yaml").read_text())["spec"]["rayClusterSpec"]
    lock = (CLUSTER.parents[1] / "requirements.lock").read_text().splitlines()
    assert f"ray=={job['rayVersion']}" in lock
    image = job["headGroupSpec"]["template"]["spec"]["containers"][0]["image"]
    assert f"docker build -f search/cluster/Dockerfile -t {image} ." in lines[0]
    assert image.endswith(f":{__version__}")
    assert sum("requirements.lock" in line or "--editable ." in line for line in lines if line.startswith("RUN")) == 2


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


def test_a_rayjob_that_is_tried_again_goes_on_with_its_study(slurm: dict[str, str], tmp_path: Path) -> None:
    job = yaml.safe_load((CLUSTER / "rayjob.yaml").read_text())
    typed = job["spec"]["entrypoint"].replace("/shared", str(tmp_path))
    split = subprocess.run(["bash", "-ce", f"printf '%s\\0' {typed}"], capture_output=True, text=True, check=True)  # KubeRay
    submitted = shlex.join(split.stdout.split("\0")[:-1])  # ray job submit
    for again in (False, True):
        subprocess.run(["bash", "-c", submitted], env=slurm, check=True, timeout=240)
        assert ("--resume" in (tmp_path / "said").read_text().split()) is again
        (tmp_path / "runs" / "studies" / "fleet").mkdir(parents=True, exist_ok=True)
        (tmp_path / "runs" / "studies" / "fleet" / "study.yaml").touch()


def test_the_slurm_script_is_sound() -> None:
    script = CLUSTER / "slurm.sh"
    subprocess.run(["bash", "-n", str(script)], check=True)
    if found := shutil.which("shellcheck"):
        done = subprocess.run([found, str(script)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
    directives = [line.split()[1] for line in script.read_text().splitlines() if line.startswith("#SBATCH ")]
    assert {"--signal=B:USR1@300", "--requeue", "--open-mode=append"} <= set(directives)
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


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """The environment of a job whose commands are stand-ins; `paretolens` leaves its arguments in a file."""
    tools = tmp_path / "bin"
    tools.mkdir()
    stand_ins = {
        "scontrol": 'if [ "$1" = show ]; then echo node0; else touch "$REQUEUED"; fi',
        "srun": 'while [[ "$1" == --* ]]; do shift; done; if [ "$1" = hostname ]; then echo 127.0.0.1; fi',
        "ray": "true",
        "paretolens": 'trap "" USR1; echo "$@" >"$SAID"; while [ -n "$STUBBORN" ] && [ ! -e "$REQUEUED" ]; do sleep 0.1; done',
    }
    for name, text in stand_ins.items():
        (tools / name).write_text(f"#!/bin/bash\n{text}\n")
        (tools / name).chmod(0o755)
    return {
        **os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "node0",
        "PARETOLENS_WORKSPACE": str(tmp_path / "runs"), "SAID": str(tmp_path / "said"), "REQUEUED": str(tmp_path / "requeued"),
        "STUBBORN": "", "REQUEUE_AFTER": "0.3",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("named", "every", "found"),
    [
        ("10.0.0.7", "10.0.0.7 192.168.0.7", "10.0.0.7"),
        ("127.0.1.1", "fe80::1 10.0.0.7", "10.0.0.7"),
        ("fe80::1 10.0.0.8", "10.0.0.7", "10.0.0.8"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("10.0.0.7", None, "10.0.0.7"),
        ("127.0.1.1", None, "127.0.1.1"),
    ],
)
def test_the_head_is_told_by_an_address_that_others_reach_and_steps_get_the_jobs_cores(
    slurm: dict[str, str], tmp_path: Path, named: str, every: str | None, found: str
) -> None:
    host_names(tmp_path, named, every)
    script = ["bash", str(CLUSTER / "slurm.sh"), "--name", "fleet"]
    environment = {**slurm, "SLURM_CPUS_PER_TASK": "16"}
    assert subprocess.run(script, env=environment, capture_output=True, check=False, timeout=240).returncode == 0
    assert f"--address {found}:6379" in (tmp_path / "said").read_text()
    assert set((tmp_path / "cores").read_text().split()) == {"16"}


def host_names(folder: Path, named: str, every: str | None) -> None:
    """What `hostname` says of a node by its name, and of all its addresses; it fails where it knows no such option."""
    answer = f'if [ "$2" = --ip-address ]; then echo "{named}"; else {"exit 1" if every is None else f"echo {every}"}; fi'
    skip = 'while [[ "$1" == --* ]]; do shift; done'
    cores = f'echo "$SRUN_CPUS_PER_TASK" >>"{folder}/cores"'
    (folder / "bin" / "srun").write_text(f'#!/bin/bash\n{cores}\n{skip}\nif [ "$1" = hostname ]; then {answer}; fi\n')


def test_a_head_without_an_address_for_ray_is_refused(slurm: dict[str, str], tmp_path: Path) -> None:
    host_names(tmp_path, "::1", "fe80::1 fd00::7")
    script = ["bash", str(CLUSTER / "slurm.sh"), "--name", "fleet"]
    done = subprocess.run(script, env=slurm, capture_output=True, text=True, check=False, timeout=240)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "of node0, hostname tells: ::1 fe80::1 fd00::7" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", [["--name", "fleet"], ["--name=fleet"]])
def test_the_slurm_script_finds_the_study_by_its_name(slurm: dict[str, str], tmp_path: Path, name: list[str]) -> None:
    script = ["bash", str(CLUSTER / "slurm.sh"), *name, "--trials", "3"]
    wanted = f"search {' '.join(name)} --trials 3 --address 127.0.0.1:6379"
    assert subprocess.run(script, env=slurm, capture_output=True, check=False, timeout=240).returncode == 0
    assert (tmp_path / "said").read_text() == f"{wanted}\n"
    (tmp_path / "runs" / "studies" / "fleet").mkdir(parents=True)
    (tmp_path / "runs" / "studies" / "fleet" / "study.yaml").touch()
    assert subprocess.run(script, env=slurm, capture_output=True, check=False, timeout=240).returncode == 0
    assert (tmp_path / "said").read_text() == f"{wanted} --resume\n"
    assert not (tmp_path / "requeued").exists()


def test_one_node_cannot_train_and_only_time(slurm: dict[str, str], tmp_path: Path) -> None:
    script = ["bash", str(CLUSTER / "slurm.sh"), "--name", "fleet"]
    environment = {**slurm, "LATENCY_RESOURCE": "latency:h200"}
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False, timeout=240)
    assert (done.returncode, done.stdout) == (2, "")
    assert "LATENCY_RESOURCE=latency:h200" in done.stderr
    assert "--nodes=2" in done.stderr
    assert not (tmp_path / "said").exists()
    assert not (tmp_path / "runs").exists()


def test_a_search_that_does_not_end_in_time_is_queued_again_all_the_same(slurm: dict[str, str], tmp_path: Path) -> None:
    script = ["bash", str(CLUSTER / "slurm.sh"), "--name", "fleet"]
    with subprocess.Popen(script, env={**slurm, "STUBBORN": "yes"}, stdout=subprocess.DEVNULL) as job:
        deadline = time.monotonic() + 120
        while not (tmp_path / "said").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        job.send_signal(signal.SIGUSR1)
        assert job.wait(120) == 0
    assert (tmp_path / "requeued").exists()
