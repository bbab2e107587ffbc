"""The training loop: two steps from data, resumable to the step, with a guard, a log and validation on whole images."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from tqdm import tqdm

from weconvene_core.errors import WeconveneError
from weconvene_core.model.checkpoint import STATE, load_start, read_tensors, write_tensors
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.paths import CHECKPOINTS, run_folder
from weconvene_core.training.config import Stage, TrainConfig
from weconvene_core.training.crops import Sampler
from weconvene_core.training.distributed import ProcessGroup, default_device
from weconvene_core.training.divergence_guard import NonFiniteGuard
from weconvene_core.training.images import ImageSource
from weconvene_core.training.learner import Learner
from weconvene_core.training.log import RunLog
from weconvene_core.training.losses import RateDistortion
from weconvene_core.training.memory import keep_freed_memory
from weconvene_core.training.objective import autocast
from weconvene_core.training.reporting import Reporter
from weconvene_core.training.stop_signals import Interrupts
from weconvene_core.training.validation import validate

START = Stage("start", 1, 1e-3, 1e-3, batch=16, crop=128)  # the images that the latents' scales start from
Watcher = Callable[["Trainer"], None]


@dataclass
class Trainer:
    """One run of a :class:`TrainConfig` on the images of an :class:`ImageSource`.

    ``run`` trains to the end, or resumes where an earlier run of the same configuration stopped: every step draws its
    images and its noise from (seed, step) alone, so the weights come out the same (bit for bit on a CPU).
    """

    config: TrainConfig
    pool: ImageSource
    device: torch.device = field(default_factory=default_device)
    team: ProcessGroup = field(default_factory=ProcessGroup)

    def __post_init__(self) -> None:
        torch.manual_seed(self.config.seed)
        self.state_path = run_folder(self.config.output) / STATE
        self.sampler = Sampler(self.pool, self.config, self.device)
        self.learner = Learner(self._start(), self.config, self.team)
        self.model, self.ema = self.learner.model, self.learner.ema
        self.guard, self.log = NonFiniteGuard(), RunLog(self.state_path.parent, self.config.tensorboard)
        self.reporter = Reporter(self.log, self.device, self.team)
        self.step, self.seconds, self._saved_at = 0, 0.0, 0.0

    def _start(self) -> WeConvene:
        model = WeConvene(self.config.architecture).to(self.device, memory_format=torch.channels_last)
        if self.config.start_from:
            path = CHECKPOINTS / f"{self.config.start_from}.safetensors"
            load_start(model, path)
        else:
            model.set_scales_from(self.sampler.draw(0, START, ProcessGroup())[0])
        return model

    def run(self, watch: Watcher | None = None, resume: bool = True, minutes: float | None = None) -> WeConvene:
        """Train to the end of the schedule, or for some minutes, and return the averaged (EMA) model.

        ``watch`` is called after every log line, for live curves. Ctrl-C, SIGTERM and the time limit save the state
        first; any other error leaves the last saved state as it is.
        """
        keep_freed_memory()
        with Interrupts(minutes) as interrupts:
            if self.team.any(resume and self.state_path.is_file())[0]:
                self.load()
            else:
                self.save()
            with self.reporter.start(self.step, self.seconds, self.config.total_steps) as bar:
                while self.step < self.config.total_steps and self._advance(interrupts, bar, watch):
                    pass
            if self.step == self.config.total_steps:
                self.save()
        return self.ema

    def _advance(self, interrupts: Interrupts, bar: tqdm[Any], watch: Watcher | None) -> bool:
        """Do one step; False when the run is to stop before it."""
        started = time.monotonic()
        phase, within = self.config.locate(self.step)
        self.learner.enter(phase)
        terms, finite = self.learner.gradients(*self.sampler.draw(self.step, phase, self.team), phase)
        failed, stop = self.team.any(not finite, interrupts.wanted)
        if failed:
            self._recover(phase)
        else:
            self.guard.passed(self.step)
            if stop or time.monotonic() - self._saved_at > self.config.save_seconds:
                self.save()  # these weights have just proved good
            if stop:
                return False
        rate = phase.rate_at(within) * self.guard.rate_factor()
        if not failed:
            self.learner.update(self.step, rate)
        self.step += 1
        self.seconds += time.monotonic() - started
        bar.update()
        self._report(phase, rate, terms, bar, watch)
        return True

    def _report(self, phase: Stage, rate: float, terms: RateDistortion, bar: tqdm[Any], watch: Watcher | None) -> None:
        """Log, show and validate when it is time."""
        config = self.config
        if self.step % config.log_every == 0 or self.step == config.total_steps:
            position = {
                "step": self.step, "phase": phase.name, "learning_rate": rate, "seconds": round(self.seconds, 2),
                "skipped": self.guard.skipped,
            }  # fmt: skip
            self.reporter.training(position, phase, terms, self.model, bar)
            if watch:
                watch(self)
        if self.team.leads and config.validate_every and self.step % config.validate_every == 0:
            with autocast(self.device):  # whole images: crops can look well while these collapse
                rows = [
                    {**row, "set": name} for name, images in self.pool.validation_sets.items()
                    for row in validate(self.ema, images, self.config.validate_qualities)
                ]  # fmt: skip
            self.reporter.validation(self.step, self.seconds, rows, bar)

    def _recover(self, phase: Stage) -> None:
        """Skip a batch whose loss or gradient is not finite; after several, go back to the last saved state."""
        back = self.guard.failed(self.step, phase.name)
        if back:
            self.learner.restore(read_tensors(self.state_path)[0], self.state_path)
        if self.team.leads:
            done = "back to the last saved weights" if back else "batch skipped"
            tqdm.write(f"step {self.step}: the loss or its gradient is not finite; {done}, learning rate lowered")

    def save(self) -> None:
        """Write the whole state into one file; a failure or a kill leaves the file that was there."""
        position = {
            "step": self.step, "seconds": self.seconds, "guard": asdict(self.guard), "config": self.config.to_dict(),
        }  # fmt: skip
        if self.team.leads:
            write_tensors(self.state_path, self.learner.tensors(), position)
        self._saved_at = time.monotonic()

    def load(self) -> None:
        """Continue from the saved state.

        Raises
        ------
        WeconveneError
            If the state is damaged, or belongs to another configuration or architecture.
        """
        tensors, position = read_tensors(self.state_path)
        if not self.config.goes_on_from(TrainConfig.from_dict(position["config"]), position["step"]):
            raise WeconveneError(
                f"{self.state_path} is the state of another configuration; choose another output folder or remove it."
            )
        self.learner.restore(tensors, self.state_path)
        self.step, self.seconds = position["step"], position["seconds"]
        self.guard, self._saved_at = NonFiniteGuard(**position.get("guard", {})), time.monotonic()
