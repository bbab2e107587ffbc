"""An example for a Slurm cluster: submit ``weconvene train CONFIG`` to several GPUs and nodes with submitit.

``python -m weconvene_core.training.slurm CONFIG --nodes 2 --processes 4 --hours 24 --partition NAME`` starts one
process per GPU. When the time is over or the job is preempted, it is queued again and goes on from its last saved
state. With ``--cluster local`` the same processes run on this machine, to try it out. Needs the optional package
submitit.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weconvene_core.errors import WeconveneError


@dataclass(frozen=True)
class TrainingJob:
    """What every process of the job runs; submitit pickles it."""

    config: Path

    def __call__(self) -> None:
        """Tell the trainer who this process is, as torchrun would, and train."""
        import submitit

        from weconvene_core.training.run import train_from_config

        submitit.helpers.TorchDistributedEnvironment().export()
        train_from_config(self.config)

    def checkpoint(self) -> Any:
        """Queue the same job again; called by submitit shortly before the time is over."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def submit(arguments: argparse.Namespace) -> Any:
    """Hand the job to the cluster and return submitit's job.

    Raises
    ------
    WeconveneError
        If submitit is not installed, or the configuration does not exist.
    """
    if not arguments.config.is_file():
        raise WeconveneError(f"There is no training configuration {arguments.config}: give a JSON or TOML file.")
    try:
        import submitit
    except ImportError as error:
        raise WeconveneError(
            "Slurm needs the package submitit: install it (pip install 'weconvene-core[slurm]') or use torchrun."
        ) from error
    executor = submitit.AutoExecutor(folder=arguments.logs, cluster=arguments.cluster)
    executor.update_parameters(
        name="weconvene", nodes=arguments.nodes, tasks_per_node=arguments.processes,
        gpus_per_node=0 if arguments.no_gpus else arguments.processes,
        cpus_per_task=arguments.cpus, timeout_min=round(60 * arguments.hours), slurm_partition=arguments.partition,
    )  # fmt: skip
    return executor.submit(TrainingJob(arguments.config.resolve()))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m weconvene_core.training.slurm", description=__doc__)
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the training's configuration, JSON or TOML")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1, help="processes, each with a GPU, per node")
    parser.add_argument("--no-gpus", action="store_true", help="train on CPUs")
    parser.add_argument("--cpus", type=int, default=8, help="CPU cores per process")
    parser.add_argument("--hours", type=float, default=24.0, help="after this time the job is queued again")
    parser.add_argument("--partition", help="partition of the cluster")
    parser.add_argument("--logs", type=Path, default=Path("runs/slurm"), help="folder of the job's outputs")
    parser.add_argument("--cluster", choices=("slurm", "local"), default="slurm")
    return parser


if __name__ == "__main__":
    try:
        print(f"submitted as job {submit(_parser().parse_args()).job_id}")
    except WeconveneError as error:
        sys.exit(f"weconvene: {error}")
