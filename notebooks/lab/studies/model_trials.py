"""Changes of the model before its long run, each trained on from the released weights at equal steps and data.

``python -m lab.studies.model_trials [TRIAL...]`` trains what is missing (resumable; half an hour of one core each) and
writes ``results/tables/model_trials.csv``: losses on the validation pictures of both folders, and their change against
the trial that differs in nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import pandas as pd

from lab.paths import save_table
from weconvene_core.errors import WeconveneError
from weconvene_core.training.config import Stage, TrainConfig
from weconvene_core.training.images import load_images
from weconvene_core.training.log import VALIDATION_LOG
from weconvene_core.training.trainer import Trainer

TABLE = "model_trials"
STAGE = Stage("trial", 1500, learning_rate=5e-4, final_rate=5e-4, batch=6, crop=192, warmup=50)
COLUMNS = ["trial", "against", "step", "set", "quality", "bpp", "psnr_db", "loss", "change_pct"]
SHARED = {
    "start_from": "lite", "images": ("train", "train_more"), "validation": "data/checkpoints/validation.csv",
    "validate_qualities": (0.0, 1.0, 3.0, 6.0), "validate_every": 750, "optimizer": "soap", "seed": 91,
    "scale_min": 0.7,
}  # fmt: skip
SPLIT = {"quantiser": "split"}
TRIALS: dict[str, tuple[str, dict[str, Any]]] = {
    "control": ("", {}),
    "split": ("control", SPLIT),
    "synthetic": ("split", SPLIT | {"synthetic_share": 0.04}),
    "synthetic-limited": ("split", SPLIT | {"synthetic_share": 0.03, "largest_loss": 2.0}),
    "synthetic-fewer": ("split", SPLIT | {"synthetic_share": 0.02, "largest_loss": 2.0}),
}
"""What each trial is compared with ("": nothing), and the fields of :class:`TrainConfig` that it changes."""


def config_of(name: str) -> TrainConfig:
    """Return the training of a trial."""
    return TrainConfig("lite", (STAGE,), f"runs/model_trials/{name}", **(SHARED | TRIALS[name][1]))


def measure(name: str) -> pd.DataFrame:
    """Train a trial to its end, or read what a finished one left; return its validation log.

    Raises
    ------
    WeconveneError
        If the photographs are missing, or the run's state is damaged.
    """
    config = config_of(name)
    trainer = Trainer(config, load_images(config))
    trainer.run()
    return pd.DataFrame(trainer.log.rows[VALIDATION_LOG]).assign(trial=name, against=TRIALS[name][0])


def compared(rows: pd.DataFrame) -> pd.DataFrame:
    """Add ``change_pct``, the change of the loss against the trial in ``against`` at equal step, set and quality."""
    keys = ["step", "set", "quality"]
    losses = rows.set_index(["trial", *keys]).loss
    reference = losses.reindex(pd.MultiIndex.from_frame(rows[["against", *keys]])).to_numpy()
    return rows.assign(change_pct=100 * (rows.loss / reference - 1))


def main(names: Sequence[str]) -> int:
    """Measure the named trials, or all, with those that they are compared with."""
    try:
        if unknown := sorted(set(names) - set(TRIALS)):
            raise WeconveneError(f"no trial is called {', '.join(unknown)}: choose from {', '.join(TRIALS)}.")
        wanted = {*names, *(TRIALS[name][0] for name in names)} if names else {*TRIALS}
        rows = compared(pd.concat([measure(name) for name in TRIALS if name in wanted], ignore_index=True))
    except WeconveneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    save_table(rows[COLUMNS], TABLE, 5, replaces="trial")
    last = rows[rows.step == rows.step.max()]
    print(last.pivot_table("change_pct", ["trial", "set"], "quality").to_string(float_format="%+.2f"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
