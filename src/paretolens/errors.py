"""Every error a caller may meet.

ParetolensError
├── UserError            the input is wrong; the command line prints one line and exits with code 2
│   ├── ConfigurationError   a key, a flag or a value; also an unknown backbone or an impossible genome
│   ├── DataError            a clip or a data set is missing, corrupt or has the wrong layout
│   ├── StoreError           a study, tracking store or folder cannot be read or written; disk full
│   ├── IntegrityError       a checkpoint, cache entry or bundle does not match its checksum or format
│   └── BackendError         a runtime is missing, or cannot take this model
│       └── SlotLostError        the measuring slot of a cluster does not answer
├── InternalError        a fault in the search itself, not in what it was given
└── TrialError           one trial failed for a reason of its own; the search goes on

A message states the rule, the value received and the next step, on one line.
"""

import traceback
from pathlib import Path
from typing import Self


class ParetolensError(Exception):
    """Base of all errors raised on purpose."""


class UserError(ParetolensError):
    """Something the user gave is wrong and can be mended by the user. Exit code 2."""


class ConfigurationError(UserError):
    """A key, flag, value or genome is outside of what is allowed."""


class DataError(UserError):
    """A clip or data set is missing, corrupt or laid out in an unknown way."""


class StoreError(UserError):
    """A study, tracking store or folder cannot be read or written."""


class IntegrityError(UserError):
    """A checkpoint, cache entry or bundle does not match its checksum or its format."""

    @classmethod
    def damaged(cls, entry: Path, reason: object, *, file: str = "") -> Self:
        """Something of ours that is not what was written: `entry` can be deleted and is made again, `file` in it is to blame."""
        return cls(
            f"{entry / file} must be what was written, but it is damaged or missing ({reason}): delete {entry} and make it again"
        )


class BackendError(UserError):
    """A runtime is missing or cannot run this model."""


class SlotLostError(BackendError):
    """The measuring slot of a cluster does not answer, so that no trial can be timed."""


class InternalError(ParetolensError):
    """A fault in the search itself, not in what it was given. Exit code 1."""

    @classmethod
    def of(cls, error: Exception) -> Self:
        """What raised, in which line of which file."""
        frames = traceback.extract_tb(error.__traceback__)
        where = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
        told = f"{type(error).__name__}{where}: {' '.join(str(error).split())[:300]}"
        fault = cls(f"a fault in the search itself ({told}); the study can be resumed, PARETOLENS_DEBUG=1 shows all of it")
        fault.__cause__ = error
        return fault


class TrialError(ParetolensError):
    """One trial failed for a reason of its own (non-finite loss, memory, time-out); the search goes on."""
