"""What a study ran on, as tags of its parent run."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

import paretolens
from paretolens.machine import usable_cores

__all__ = ["code_version", "describe_environment", "packages"]

_LIBRARIES = ("torch", "ray", "optuna", "mlflow", "onnx", "onnxruntime", "torch-pruning", "numpy")


def describe_environment() -> dict[str, str]:
    """Versions of Python, of the system, of Paretolens and of the libraries that a result depends on, by tag.

    Nothing is imported for it. For `StudyInfo.tags`, where each becomes `paretolens.<key>`. MLflow's own tag of the commit is set
    only where no file differs from it.
    """
    found = {
        **_source(),
        "code": code_version(),
        "env.python": platform.python_version(),
        "env.system": f"{platform.system()} {platform.machine()}",
        "env.cores": str(usable_cores()),
    }
    for library in _LIBRARIES:
        try:
            found[f"env.{library.replace('-', '_')}"] = version(library)
        except PackageNotFoundError:
            continue
    return found


def code_version() -> str:
    """`0.1.0`, with the commit where the code is a checkout, and `+changes` where files differ from it."""
    folder = Path(paretolens.__file__).resolve().parent
    commit = _git(folder, "rev-parse", "--short=12", "HEAD")
    if not commit or _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return paretolens.__version__
    changes = "+changes" if _git(folder, "status", "--porcelain", "--untracked-files=no") else ""
    return f"{paretolens.__version__} {commit}{changes}"


def packages() -> str:
    """Every installed distribution as `name==version`, a line each: what a run can be installed from again."""
    found = {f"{one.metadata['Name']}=={one.version}" for one in distributions() if one.metadata["Name"]}
    return "\n".join(sorted(found, key=str.lower)) + "\n"


def _source() -> dict[str, str]:
    """MLflow's own tags of where a run comes from, which its UI shows in columns."""
    commit = _git(Path(paretolens.__file__).resolve().parent, "rev-parse", "HEAD")
    own = {"mlflow.source.name": "paretolens", "mlflow.source.type": "LOCAL"}
    return {**own, "mlflow.source.git.commit": commit} if commit and "+" not in code_version() else own


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says; None where there is no git or no repository."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
