"""A search as far as a store can see one, in a process of its own: python tracking_worker.py STUDY URI FOLDER TRIALS.

Half of the trials, the word `half`, a line from standard input, the other half, the word `away`, another line, the end.
"""

import sys
from pathlib import Path

from paretolens.mlflow.names import TrialState
from paretolens.mlflow.tracking import MlflowTracker, StudyInfo


def content(study: str, number: int) -> bytes:
    """What the file of a trial holds: 64 KB that no other trial has."""
    return f"{study} {number} ".encode().ljust(64, b".") * 1024


def _trial(tracker: MlflowTracker, study: str, number: int, folder: Path) -> None:
    trial = f"trial-{number:04d}"
    tracker.start_trial(trial, params={"width": number}, genome=f"g{number}")
    for step in (1, 2):
        tracker.log_epoch(trial, {"loss": 1.0 / (number + step)}, step=step)
    model = folder / trial / "model.onnx"
    model.parent.mkdir()
    model.write_bytes(content(study, number))
    tracker.log_artifacts(trial, {"": [model]})
    metrics = {"accuracy": 0.5 + number / 100, "latency_ms": 1.0 + number, "eps": 0.5}
    tracker.finish_trial(trial, TrialState.COMPLETE, metrics=metrics)


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def main(study: str, uri: str, folder: Path, trials: int) -> int:
    """Log them all; 0 if the store has everything in the end."""
    with MlflowTracker(tracking_uri=uri, spool=folder / "spool.jsonl") as tracker:
        tracker.start_study(StudyInfo(name=study))
        for number in range(trials):
            if number == trials // 2:
                _say("half")
                sys.stdin.readline()
            _trial(tracker, study, number, folder)
        _say("away")
        sys.stdin.readline()
        tracker.finish_study(TrialState.COMPLETE)
        return 0 if tracker.flush(120) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])))
