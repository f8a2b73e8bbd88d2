"""One of several processes that train a detector on planted clips: torchrun ddp_worker.py FOLDER SETTINGS.

The leading one ends the hard way after the second epoch, once. Each leaves its history and its weights in FOLDER.
"""

import json
import os
import runpy
import signal
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from paretolens.trainers.distributed import joined
from paretolens.trainers.teacher import TeacherSettings, train_teacher


def work(folder: Path, settings: TeacherSettings) -> None:
    torch.set_num_threads(1)
    planted = runpy.run_path(str(Path(__file__).with_name("conftest.py")))
    model, fallen = planted["make_model"](), folder / "fallen"

    def report(figures: dict[str, float]) -> None:
        if figures["epoch"] == 2 and not fallen.exists():
            fallen.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    with joined() as world:
        history = train_teacher(
            model, planted["make_samples"](48), planted["make_samples"](24, seed=1), settings,
            seed=3, report=report, folder=folder / "checkpoints", world=world,
        )  # fmt: skip
        save_file(model.state_dict(), folder / f"weights-{world.rank}.safetensors")
        (folder / f"history-{world.rank}.json").write_text(json.dumps([dict(figures) for figures in history.epochs]))


if __name__ == "__main__":
    work(Path(sys.argv[1]), TeacherSettings(**json.loads(sys.argv[2])))
