"""What a kill costs a training: a real run is killed without warning, goes on, and ends as if nothing had been.

``python -m lab.studies.kill_resume`` trains `tiny` on photographs twice, undisturbed and under kills, and
writes ``results/tables/kill_resume.csv``. SIGKILL cannot be caught, so to the run it is the same as a lost machine.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from weconvene_core.datasets.image_sets import folder_set, training_folder
from weconvene_core.errors import WeconveneError
from weconvene_core.model.checkpoint import STATE, read_tensors, weights_hash
from weconvene_core.paths import RESULTS
from weconvene_core.training.config import Stage, TrainConfig
from weconvene_core.training.log import LOG

TABLE = RESULTS / "tables" / "kill_resume.csv"
PHOTOGRAPHS = 8
ENTROPY = Stage("entropy model", 30, 1e-2, 1e-3, batch=4, crop=64, warmup=5, transforms=False)
JOINT = Stage("step 1", 60, 4e-3, 4e-4, batch=4, crop=64, warmup=5)
CONFIG = TrainConfig("tiny", (ENTROPY, JOINT), "", save_seconds=1.0, log_every=1)
POLL = 0.01  # seconds between two looks at the log


def measure(folder: Path, config: TrainConfig = CONFIG, kills: int = 3, seed: int = 0) -> pd.DataFrame:
    """Train undisturbed and under kills in an empty folder; return a row per kill.

    Columns: ``kill``; ``step_at_kill``, the last finished step; ``step_resumed``, that of the state on disk;
    ``seconds_lost``, the training time between the two; ``save_seconds``, what was asked for; ``same_weights``, whether
    weights, average and optimisers at the end are those of the undisturbed run, bit for bit.

    Raises:
        WeconveneError: a training ends by itself with an error (its last line is quoted).
    """
    images = folder / "photographs"
    images.mkdir()
    for path in folder_set(training_folder(), PHOTOGRAPHS).paths:
        shutil.copyfile(path, images / path.name)
    plain, killed = (replace(config, output=str(folder / name), images=str(images)) for name in ("plain", "killed"))
    _finish(plain)
    rows = [_killed(killed, number, moment) for number, moment in enumerate(_moments(config, kills, seed), start=1)]
    _finish(killed)
    same = weights_hash(folder / "plain" / STATE) == weights_hash(folder / "killed" / STATE)
    return pd.DataFrame(rows).assign(save_seconds=config.save_seconds, same_weights="yes" if same else "no")


def _moments(config: TrainConfig, kills: int, seed: int) -> list[float]:
    """Draw one moment, in steps, in each of as many equal parts of the run."""
    part = (config.total_steps - 2) / kills
    return [1 + part * (number + share) for number, share in enumerate(np.random.default_rng(seed).random(kills))]


def _start(config: TrainConfig) -> subprocess.Popen[bytes]:
    """Start a training, or go on with it, in a process of its own; one thread, so that sums have one order."""
    path = Path(config.output).with_suffix(".json")
    path.write_text(json.dumps(config.to_dict()), encoding="utf-8")
    command = [sys.executable, "-m", "weconvene_core", "train", str(path)]
    with path.with_suffix(".err").open("wb") as errors:
        return subprocess.Popen(command, stdout=errors, stderr=errors, env=os.environ | {"OMP_NUM_THREADS": "1"})


def _finish(config: TrainConfig) -> None:
    if _start(config).wait():
        raise _failure(config)


def _failure(config: TrainConfig) -> WeconveneError:
    last = Path(config.output).with_suffix(".err").read_text(encoding="utf-8").strip().splitlines()[-1:]
    said = " ".join(last)
    return WeconveneError(f"the training under {config.output} ended by itself, so nothing was measured: {said}")


def _killed(config: TrainConfig, number: int, moment: float) -> dict[str, float]:
    """Let the training go on to a moment, kill it there, and compare its log with its state on disk."""
    folder, training = Path(config.output), _start(config)
    while _logged(folder)[0] < int(moment) and training.poll() is None:
        time.sleep(POLL)
    step, seconds = _logged(folder)
    time.sleep(moment % 1 * seconds / max(1, step))  # somewhere within the step, or within the saving after it
    training.kill()
    if training.wait() >= 0:
        raise _failure(config)
    (step, seconds), state = _logged(folder), read_tensors(folder / STATE)[1]
    lost = round(max(0.0, seconds - state["seconds"]), 2)
    return {"kill": number, "step_at_kill": step, "step_resumed": state["step"], "seconds_lost": lost}


def _logged(folder: Path) -> tuple[int, float]:
    """Return the last finished step in a run's log and its seconds of training, zeros before the first."""
    try:
        rows = pd.read_csv(folder / LOG).dropna(subset=["step", "seconds"])  # a kill may cut the last one short
    except (FileNotFoundError, pd.errors.EmptyDataError):
        return 0, 0.0
    return (int(rows.step.iloc[-1]), float(rows.seconds.iloc[-1])) if len(rows) else (0, 0.0)


def main() -> None:
    """Measure and write the table."""
    with tempfile.TemporaryDirectory() as scratch:
        table = measure(Path(scratch))
    table.to_csv(TABLE, index=False, lineterminator="\n")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
