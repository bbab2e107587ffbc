"""Changes of the model before its long run, each trained on from the released weights at equal steps and data.

``python -m lab.studies.model_trials [TRIAL...]`` trains what is missing (resumable; half an hour of one
core each) and writes ``results/tables/model_trials.csv``: losses on the validation pictures of both folders, and their
change against the trial that differs in nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from weconvene_core.errors import WeconveneError
from weconvene_core.paths import RESULTS
from weconvene_core.training.config import Stage, TrainConfig
from weconvene_core.training.images import load_images
from weconvene_core.training.log import VALIDATION_LOG
from weconvene_core.training.trainer import Trainer

TABLE = RESULTS / "tables" / "model_trials.csv"
PHASE = Stage("trial", 1500, learning_rate=5e-4, final_rate=5e-4, batch=6, crop=192, warmup=50)


@dataclass(frozen=True)
class Trial:
    """Fields of :class:`TrainConfig` that a trial changes, and the trial that it is compared with (None: none)."""

    name: str
    against: str | None
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def config(self) -> TrainConfig:
        """The training: from the released `lite`, with SOAP, on both folders."""
        shared = {
            "start_from": "lite", "images": ("train", "train_more"), "validation": "data/checkpoints/validation.csv",
            "validate_qualities": (0.0, 1.0, 3.0, 6.0), "validate_every": 750, "optimizer": "soap", "seed": 91,
            "scale_min": 0.7,
        }  # fmt: skip
        return TrainConfig("lite", (PHASE,), f"runs/model_trials/{self.name}", **{**shared, **self.changes})


TRIALS = {
    trial.name: trial
    for trial in (
        Trial("control", None),
        Trial("split", "control", {"quantiser": "split"}),
        Trial("synthetic", "split", {"quantiser": "split", "synthetic_share": 0.04}),
        Trial("synthetic-limited", "split", {"quantiser": "split", "synthetic_share": 0.03, "largest_loss": 2.0}),
        Trial("synthetic-fewer", "split", {"quantiser": "split", "synthetic_share": 0.02, "largest_loss": 2.0}),
    )
}


def measure(trial: Trial) -> pd.DataFrame:
    """Train a trial to its end, or read what a finished one left; return its validation log.

    Raises
    ------
    WeconveneError
        If the photographs are missing, or the run's state is damaged.
    """
    config = trial.config
    trainer = Trainer(config, load_images(config))
    trainer.run()
    return pd.DataFrame(trainer.log.rows[VALIDATION_LOG]).assign(trial=trial.name, against=trial.against or "")


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
        chosen = [trial for name, trial in TRIALS.items() if not names or name in names]
        wanted = {name for trial in chosen for name in (trial.name, trial.against) if name}
        rows = compared(pd.concat([measure(TRIALS[name]) for name in TRIALS if name in wanted], ignore_index=True))
        columns = ["trial", "against", "step", "set", "quality", "bpp", "psnr_db", "loss", "change_pct"]
        earlier = pd.read_csv(TABLE) if TABLE.is_file() else pd.DataFrame(columns=columns)
        kept = earlier[~earlier.trial.isin(rows.trial)]  # not asked for, or their code is gone
        pd.concat([rows[columns], kept]).to_csv(TABLE, index=False, float_format="%.5f", lineterminator="\n")
    except WeconveneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    last = rows[rows.step == rows.step.max()]
    print(last.pivot_table("change_pct", ["trial", "set"], "quality").to_string(float_format="%+.2f"))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
