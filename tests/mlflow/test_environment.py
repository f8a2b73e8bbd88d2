import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import paretolens
from paretolens.mlflow.environment import code_version, describe_environment


def test_versions_are_those_that_run() -> None:
    found = describe_environment()
    assert found["env.python"] == platform.python_version()
    assert found["env.torch"] == version("torch")
    assert found["env.torch_pruning"] == version("torch-pruning")
    assert int(found["env.cores"]) >= 1
    assert all(isinstance(value, str) and value for value in found.values())


def test_code_version_names_the_commit_of_a_checkout() -> None:
    root = Path(paretolens.__file__).resolve().parents[2]
    said = code_version()
    assert said.startswith(paretolens.__version__)
    if (root / ".git").exists():
        head = subprocess.run(["git", "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
        assert head[:12] in said


def test_code_version_without_git(tmp_path: Path) -> None:
    code = "from paretolens.mlflow.environment import code_version; print(code_version())"
    done = subprocess.run([sys.executable, "-c", code], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == paretolens.__version__
