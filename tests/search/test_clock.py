"""A machine whose clock is set back by an hour in the middle of a search: durations and MLflow's times stay sane.

The clock is really wrong for the whole process, Optuna and MLflow included: a small library put before libc tells another time.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from paretolens.mlflow.records import read_study
from paretolens.mlflow.store import open_client
from paretolens.search.journal import read_records
from paretolens.search.outcome import Fate

HALF_S = 1800
"""Far more than anything takes here, far less than the hour that the clock is set back."""
BACK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long shift(void) { char *flag = getenv("CLOCK_BACK"); return flag && !access(flag, F_OK) ? 3600 : 0; }
int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, at);
    if (id == CLOCK_REALTIME) at->tv_sec -= shift();
    return result;
}
int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
"""

DRIVER = """
import json, os, sys, time
from pathlib import Path
from paretolens.mlflow.names import TrialState
from paretolens.mlflow.tracking import MlflowTracker, StudyInfo
from paretolens.search.dispatcher import Assignment, Dispatcher, Limits
from paretolens.search.journal import Journal
from paretolens.search.observer import Epoch
from paretolens.search.outcome import Objective, TrialOutcome
from paretolens.search.proposer import Proposer
from paretolens.search.recorder import Recorder
from paretolens.search.sampling import Sampler, make_sampler
from paretolens.spaces.knobs import Knob, Space, Stage

folder = Path(sys.argv[1])
space = Space(knobs=(Knob(name="x", stage=Stage.STUDENT, doc="", default=0.5, low=0.0, high=1.0),))
objectives = [Objective(name="cost", maximise=False)]
with Journal(folder / "study", objectives=objectives, fingerprint="abc") as journal, MlflowTracker(
    tracking_uri=f"sqlite:///{folder}/mlflow.db", spool=folder / "spool.jsonl"
) as tracker:
    tracker.start_study(StudyInfo(name="study"))
    recorder = Recorder(tracker, space)
    proposer = Proposer(space=space, objectives=objectives, sampler=make_sampler(Sampler.RANDOM, population=4, seed=0), seed=0)
    limits = Limits(trials=3, workers=1, failures=3, infeasible=3)
    dispatcher = Dispatcher(journal=journal, proposer=proposer, observer=recorder, limits=limits)
    while isinstance(step := dispatcher.next(), Assignment):
        dispatcher.begun(step.number)
        for epoch in range(2):
            time.sleep(0.1)
            recorder.trial_reported(Epoch(number=step.number, step=epoch, metrics={"loss": 1.0}))
            if step.number == 1 and epoch == 0:
                before = time.time()
                Path(os.environ["CLOCK_BACK"]).touch()
                print(json.dumps(before - time.time()))
        details = {"folder": str(folder / "none")}
        dispatcher.evaluated(step.number, TrialOutcome(values={"cost": step.proposal.genome["x"]}, details=details))
    tracker.finish_study(TrialState.COMPLETE)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux") or shutil.which("cc") is None, reason="needs Linux and a C compiler")
def test_a_clock_that_is_set_back_makes_no_time_run_backwards(tmp_path: Path) -> None:
    library = tmp_path / "back.so"
    (tmp_path / "back.c").write_text(BACK)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "back.c", "-ldl"], check=True)
    around = {**os.environ, "LD_PRELOAD": str(library), "CLOCK_BACK": str(tmp_path / "flag")}
    command = [sys.executable, "-c", DRIVER, str(tmp_path)]
    done = subprocess.run(command, env=around, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == pytest.approx(3600, abs=600)  # the clock did jump
    records = read_records(tmp_path / "study")
    assert [entry.fate for entry in records] == [Fate.EVALUATED] * 3
    for entry in records:
        assert 0.2 <= entry.seconds < HALF_S
        assert entry.started is not None
        assert entry.finished is not None
        assert (entry.finished - entry.started).total_seconds() >= 0.2
    store = f"sqlite:///{tmp_path}/mlflow.db"
    client, study = open_client(store), read_study("study", tracking_uri=store)
    for run in (*study.trials["run_id"], study.run_id):
        told = client.get_run(run).info
        assert 0 < told.end_time - told.start_time < HALF_S * 1000
    for run in study.trials["run_id"]:
        first, second = (point.timestamp for point in client.get_metric_history(run, "epoch/loss"))
        assert 50 < second - first < HALF_S * 1000
