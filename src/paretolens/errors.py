"""Every error a caller may meet.

ParetolensError
├── UserError            the input is wrong; the command line prints one line and exits with code 2
│   ├── ConfigurationError   a key, a flag or a value; also an unknown backbone or an impossible genome
│   ├── DataError            a clip or a data set is missing, corrupt or has the wrong layout
│   ├── StoreError           a study, tracking store or folder cannot be read or written; disk full
│   ├── IntegrityError       a checkpoint, cache entry or bundle does not match its checksum or format
│   └── BackendError         a runtime is missing, or cannot take this model
│       └── SlotLostError        the measuring slot of a cluster does not answer
└── TrialError           one trial failed for a reason of its own; the search goes on

A message states the rule, the value received and the next step, on one line.
"""

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


class TrialError(ParetolensError):
    """One trial failed for a reason of its own (non-finite loss, memory, time-out); the search goes on."""
