"""Where everything that Paretolens writes lives: one folder, safe to copy, move or delete."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from paretolens.errors import ConfigurationError, StoreError
from paretolens.naming import did_you_mean
from paretolens.search.limits import MINIMUM_FREE_BYTES

__all__ = ["Workspace", "check_name"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def check_name(name: str) -> str:
    """A study's name that can be a folder's.

    Raises:
        ConfigurationError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"study name {name!r}: use 1-80 letters, digits, dots, dashes or underscores, starting with a letter or digit"
        )
    return name


@dataclass(frozen=True)
class Workspace:
    """The folder of studies, caches and the default tracking store."""

    root: Path
    """Absolute path of the folder."""

    @classmethod
    def at(cls, folder: Path) -> "Workspace":
        """The workspace in a folder, which need not exist yet."""
        return cls(folder.expanduser().resolve())

    @property
    def cache(self) -> Path:
        """Content-addressed results that can be made again: data, teachers, teacher outputs."""
        return self.root / "cache"

    @property
    def tracking_uri(self) -> str:
        """The default MLflow store, absolute because workers run in other folders."""
        return f"sqlite:///{self.root / 'mlflow.db'}"

    def study(self, name: str) -> Path:
        """Folder of a study.

        Raises:
            ConfigurationError: the name cannot be a folder's name.
        """
        return self.root / "studies" / check_name(name)

    def studies(self) -> list[str]:
        """Names of the studies, the one touched last first."""
        folders = [path for path in (self.root / "studies").glob("*") if (path / "study.yaml").is_file()]
        return [path.name for path in sorted(folders, key=lambda path: (path / "study.yaml").stat().st_mtime, reverse=True)]

    def chosen(self, name: str | None) -> str:
        """The study of this name; the one touched last for None.

        Raises:
            ConfigurationError: there is none of that name (the nearest is named), or none at all.
        """
        known = self.studies()
        if not known:
            raise ConfigurationError(
                f"{self.root} holds no study; start one with 'paretolens search', or name its folder with --workspace"
            )
        if name is not None and name not in known:
            hint = did_you_mean(name, known, listing=f"'ls {self.root / 'studies'}' lists all", said="there are")
            raise ConfigurationError(
                f"study {name!r}: not in {self.root}{hint}; start it with 'paretolens search', or name another --workspace"
            )
        return known[0] if name is None else name

    def free_name(self, stem: str) -> str:
        """The first of `stem-1`, `stem-2`, … that no study has."""
        number = 1
        while self.study(f"{stem}-{number}").exists():
            number += 1
        return f"{stem}-{number}"

    def ensure_writable(self) -> None:
        """Create the folder and make sure that files can be written and that there is room.

        Raises:
            StoreError: the folder cannot be written, or less than 512 MiB are free.
        """
        probe = self.root / f".write-test-{os.getpid()}"
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe.write_bytes(b"\0" * 4096)
        except OSError as error:
            raise StoreError(
                f"workspace {self.root}: cannot be written ({error.strerror}); choose another with --workspace"
            ) from error
        finally:
            if self.root.is_dir():
                probe.unlink(missing_ok=True)
        free = shutil.disk_usage(self.root).free
        if free < MINIMUM_FREE_BYTES:
            raise StoreError(
                f"workspace {self.root}: {free // 2**20} MiB free, at least {MINIMUM_FREE_BYTES // 2**20} MiB needed; "
                "free some space or choose another with --workspace"
            )
