"""The containers of mlflow/server/compose.yaml: what it names (variables, volumes, ports, files, addresses, versions) exists."""

import os
import re
import shutil
import subprocess
import urllib.parse
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
HERE = ROOT / "mlflow" / "server"
TEXT = (HERE / "compose.yaml").read_text()
_VARIABLE = re.compile(r"\$\{(\w+)(?::([?-])[^}]*)?\}")


@pytest.fixture
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(TEXT)
    return loaded


@pytest.fixture
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose["services"]
    return found


def _example(*, commented: bool) -> set[str]:
    start = "#" if commented else ""
    return set(re.findall(rf"^{start}(\w+)=", (HERE / "example.env").read_text(), re.MULTILINE))


def test_a_secret_is_asked_for_and_what_is_left_to_choose_has_a_default() -> None:
    kinds = {"?": set[str](), "-": set[str](), "": set[str]()}
    for name, kind in _VARIABLE.findall(TEXT):
        kinds[kind].add(name)
    assert kinds == {"?": _example(commented=False), "-": _example(commented=True), "": set()}
    assert {"POSTGRES_PASSWORD", "S3_SECRET_KEY", "ADMIN_PASSWORD"} <= kinds["?"]


def test_no_secret_stands_in_the_files(services: dict[str, dict[str, Any]]) -> None:
    for service in services.values():
        for name, value in service["environment"].items():
            if re.search("PASSWORD|SECRET|KEY", name):
                assert _VARIABLE.match(str(value)), name
    for line in (HERE / "example.env").read_text().splitlines():
        assert not re.search(r"(PASSWORD|SECRET_KEY)=.", line), line
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert ".env" in ignored


def test_only_the_server_is_published_and_on_loopback(services: dict[str, dict[str, Any]]) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert list(published) == ["tracking"]
    assert all(port.startswith("127.0.0.1:") for port in published["tracking"])


def test_volumes_and_services_that_are_named_are_declared(compose: dict[str, Any], services: dict[str, dict[str, Any]]) -> None:
    mounted = [volume.partition(":")[0] for service in services.values() for volume in service["volumes"]]
    assert sorted(mounted) == sorted(compose["volumes"])
    for service in services.values():
        assert service["healthcheck"]["test"]
        assert set(service.get("depends_on", {})) <= set(services)


def test_the_server_finds_database_and_bucket(services: dict[str, dict[str, Any]]) -> None:
    tracking, own = services["tracking"]["environment"], services["database"]["environment"]
    database = urllib.parse.urlsplit(tracking["DATABASE"])
    assert (database.hostname, database.username, database.path[1:]) == ("database", own["POSTGRES_USER"], own["POSTGRES_DB"])
    assert tracking["PGPASSWORD"] == own["POSTGRES_PASSWORD"]
    flags = dict(flag[1:].partition("=")[::2] for flag in services["storage"]["command"][1:])
    assert tracking["MLFLOW_S3_ENDPOINT_URL"] == f"http://{flags['ip']}:{flags['s3.port']}"
    assert flags["ip"] in services
    assert urllib.parse.urlsplit(tracking["ARTIFACTS"]).hostname == flags["bucket"]
    assert services["storage"]["environment"].items() <= tracking.items()


def test_what_the_server_is_told_somebody_reads(services: dict[str, dict[str, Any]]) -> None:
    from botocore.configprovider import BOTOCORE_DEFAUT_SESSION_VARIABLES as BOTOCORE
    from mlflow import environment_variables

    script = set(re.findall(r"\$\{(\w+):[?-]", (HERE / "start.sh").read_text()))
    keys = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD"}
    region = {name for entry in BOTOCORE.values() for name in ([entry[1]] if isinstance(entry[1], str) else entry[1] or [])}
    for name in services["tracking"]["environment"]:
        assert name in script | keys | region or hasattr(environment_variables, name), name


def test_the_image_has_what_the_tests_run() -> None:
    recipe = (HERE / "Dockerfile").read_text()
    locked = dict(line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line)
    pins = dict(re.findall(r'"([a-z0-9-]+)(?:\[\w+\])?==([^"]+)"', recipe))
    assert {"mlflow", "sqlalchemy", "psycopg", "boto3"} == set(pins)
    assert pins.items() <= locked.items()
    for source in re.findall(r"^COPY (\S+)", recipe, re.MULTILINE):
        assert os.access(HERE / source, os.X_OK), source


def test_compose_itself_accepts_it(tmp_path: Path) -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("docker compose isn't installed")
    command = [docker, "compose", "--file", str(HERE / "compose.yaml"), "config", "--quiet"]
    secrets = dict.fromkeys(_example(commented=False), "a-long-enough-secret")
    assert subprocess.run(command, cwd=tmp_path, env={**os.environ, **secrets}, check=False).returncode == 0
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode != 0
