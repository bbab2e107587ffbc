"""The training loop: stages from data, resumable to the step, with a guard, a log and validation on whole images."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from weconvene_core.errors import WeconveneError
from weconvene_core.model.checkpoint import STATE, description_of, load_start, read_tensors, release, write_tensors
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.paths import ROOT, checkpoint, checkpoints, new_checkpoint, run_folder
from weconvene_core.training.config import Stage, TrainConfig, load_config
from weconvene_core.training.distributed import ProcessGroup, default_device, join
from weconvene_core.training.images import ImagePool, Sampler, load_images
from weconvene_core.training.learner import Learner
from weconvene_core.training.log import RunLog
from weconvene_core.training.losses import RateDistortion, autocast
from weconvene_core.training.safeguards import NonFiniteGuard, stop_requests
from weconvene_core.training.validation import validate
from weconvene_core.version import git_version

START = Stage("start", 1, 1e-3, 1e-3, batch=16, crop=128)  # the images that the latents' scales start from
Watcher = Callable[["Trainer"], None]


def train_from_config(path: Path | str, minutes: float | None = None, quiet: bool = False) -> WeConvene:
    """Train as a TOML or JSON file says, resuming an interrupted run; release the average where the file says so.

    With ``minutes`` it stops cleanly this long after the call; the same call goes on later. ``quiet`` shows nothing.

    Raises
    ------
    WeconveneError
        If the configuration, its images or its start are unusable, or the loss stays not finite.
    """
    started, config = time.monotonic(), load_config(path)
    released = _own_checkpoint(config) if config.release else None
    with join() as group:
        images = load_images(config, quiet=quiet or not group.is_main)
        trainer = Trainer(config, images, group=group, quiet=quiet)
        trainer.log.say(f"state and logs: {trainer.state_path.parent}")
        model = trainer.run(minutes=None if minutes is None else minutes - (time.monotonic() - started) / 60)
        if trainer.step < config.total_steps:
            trainer.log.say(
                f"stopped at step {trainer.step} of {config.total_steps}; the same command goes on from here"
            )
        elif group.is_main and released and not _released_before(released, trainer):
            release(model, released, trainer.facts(), config.start_from if config.trains else None)
            trainer.log.say(f"released: {released}; next: weconvene calibrate {config.release}")
    return model


def _released_before(path: Path, trainer: Trainer) -> bool:
    """Tell whether a model is this very run's: releasing it again would undo its calibration."""
    said = description_of(path)
    return (said.get("steps"), said.get("seconds")) == (trainer.step, round(trainer.seconds))


def _own_checkpoint(config: TrainConfig) -> Path:
    """Return the file that a run releases; one that it neither made nor goes on from is not replaced."""
    path = new_checkpoint(config.release or "")
    maker = description_of(path).get("config", {}).get("output")
    if path.is_file() and config.release != config.start_from and maker != config.output:
        raise WeconveneError(f"{path} is the model of another run: choose another release, or move it.")
    return path


@dataclass
class Trainer:
    """One run of a :class:`TrainConfig` on the images of an :class:`ImagePool`.

    ``run`` trains to the end, or resumes where an earlier run of the same configuration stopped: every step draws its
    images and its noise from (seed, step) alone, so the weights come out the same (bit for bit on a CPU).
    """

    config: TrainConfig
    pool: ImagePool
    device: torch.device = field(default_factory=default_device)
    group: ProcessGroup = field(default_factory=ProcessGroup)
    quiet: bool = False

    def __post_init__(self) -> None:
        torch.manual_seed(self.config.seed)
        self.state_path = run_folder(self.config.output) / STATE
        self.sampler = Sampler(self.pool, self.config, self.device)
        self.learner = Learner(self._start(), self.config, self.group)
        self.model, self.ema = self.learner.model, self.learner.ema
        self.guard, self.log = NonFiniteGuard(), RunLog(self.state_path.parent, self.group, self.quiet)
        self.step, self.seconds, self._saved_at = 0, 0.0, 0.0

    def _start(self) -> WeConvene:
        model = WeConvene(self.config.architecture).to(self.device, memory_format=torch.channels_last)
        if self.config.start_from:
            load_start(model, checkpoint(self.config.start_from))
        else:
            model.set_scales_from(self.sampler.draw(0, START, ProcessGroup())[0])
        return model

    def run(self, watch: Watcher | None = None, resume: bool = True, minutes: float | None = None) -> WeConvene:
        """Train to the end of the schedule, or for some minutes, and return the averaged (EMA) model.

        ``watch`` is called after every log line, for live curves. Ctrl-C, SIGTERM and the time limit save the state
        first; any other error leaves the last saved state as it is.
        """
        with stop_requests(minutes) as stop_wanted:
            if self.group.any(resume and self.state_path.is_file())[0]:
                self.load()
                if self.step == self.config.total_steps:
                    self.log.say(f"already finished: {self.step} steps")
            else:
                self.save()
            with self.log.start(self.step, self.seconds, self.config.total_steps):
                while self.step < self.config.total_steps and self._advance(stop_wanted, watch):
                    pass
            if self.step == self.config.total_steps:
                self.save()
        return self.ema

    def _advance(self, stop_wanted: Callable[[], bool], watch: Watcher | None) -> bool:
        """Do one step; False when the run is to stop before it."""
        started = time.monotonic()
        stage, within = self.config.locate(self.step)
        self.learner.enter(stage)
        terms, finite = self.learner.gradients(*self.sampler.draw(self.step, stage, self.group), stage)
        failed, stop = self.group.any(not finite, stop_wanted())
        if failed:
            self._recover(stage)
        else:
            self.guard.passed(self.step)
            if stop or time.monotonic() - self._saved_at > self.config.save_seconds:
                self.save()  # these weights have just proved good
            if stop:
                return False
        rate = stage.rate_at(within) * self.guard.rate_factor()
        if not failed:
            self.learner.update(self.step, rate)
        self.step += 1
        self.seconds += time.monotonic() - started
        self.log.bar.update()
        self._report(stage, rate, terms, watch)
        return True

    def _report(self, stage: Stage, rate: float, terms: RateDistortion, watch: Watcher | None) -> None:
        """Log, show and validate when it is time."""
        config = self.config
        if self.step % config.log_every == 0 or self.step == config.total_steps:
            position = {"step": self.step, "stage": stage.name, "seconds": round(self.seconds, 2)}
            position |= {"learning_rate": rate, "skipped": self.guard.skipped}
            self.log.training(position, stage, terms)
            if watch:
                watch(self)
        if self.group.is_main and config.validate_every and self.step % config.validate_every == 0:
            with autocast(self.device):  # whole images: crops can look well while these collapse
                rows = [
                    {**row, "set": name}
                    for name, images in self.pool.validation_sets.items()
                    for row in validate(self.ema, images, config.validate_qualities)
                ]
            self.log.validation(self.step, self.seconds, rows)

    def _recover(self, stage: Stage) -> None:
        """Skip a batch whose loss or gradient is not finite; after several, go back to the last saved state."""
        back = self.guard.failed(self.step, stage.name)
        if back:
            self.learner.restore(read_tensors(self.state_path)[0], self.state_path)
        done = "back to the last saved weights" if back else "batch skipped"
        self.log.say(f"step {self.step}: the loss or its gradient is not finite; {done}, learning rate lowered")

    def save(self) -> None:
        """Write the whole state into one file; a failure or a kill leaves the file that was there."""
        if self.group.is_main:
            position = {"step": self.step, "seconds": self.seconds, "guard": asdict(self.guard)}
            description = {**position, "config": self.config.to_dict()}
            write_tensors(self.state_path, self.learner.tensors(), description)
        self._saved_at = time.monotonic()

    def load(self) -> None:
        """Continue from the saved state; ``WeconveneError`` if it is damaged, or of another configuration."""
        tensors, position = read_tensors(self.state_path)
        if not self.config.goes_on_from(TrainConfig.from_dict(position["config"]), position["step"]):
            raise WeconveneError(
                f"{self.state_path} is the state of another configuration; choose another output folder or remove it."
            )
        self.learner.restore(tensors, self.state_path)
        self.step, self.seconds = position["step"], position["seconds"]
        self.guard, self._saved_at = NonFiniteGuard(**position.get("guard", {})), time.monotonic()

    def facts(self) -> dict[str, Any]:
        """Return what a released checkpoint says of its making, with the facts of what it started from."""
        start, cuda = sidecar(self.config.start_from), self.device.type == "cuda"
        pixels = sum(image.shape[0] * image.shape[1] for image in self.pool.train)
        return {
            "total_steps": self.step + _total(start, "steps"),
            "total_seconds": round(self.seconds + _total(start, "seconds")),
            "steps": self.step, "seconds": round(self.seconds), "processes": self.group.size,
            "device": torch.cuda.get_device_name(self.device) if cuda else f"CPU, {torch.get_num_threads()} threads",
            "skipped_batches": self.guard.skipped, "training_images": len(self.pool.train),
            "training_megapixels": round(pixels / 1e6, 1), "commit": git_version(ROOT),
            "config": self.config.to_dict(), "started_from": start,
        }  # fmt: skip


def sidecar(name: str | None) -> dict[str, Any] | None:
    """Return what is written beside a released checkpoint, None where there is no such file."""
    path = checkpoints().get(name)
    beside = path and path.with_suffix(".json")
    return json.loads(beside.read_text(encoding="utf-8")) if beside and beside.is_file() else None


def _total(facts: dict[str, Any] | None, key: str) -> float:
    """Sum ``key`` over a checkpoint's facts and those of all that it started from."""
    return facts[key] + _total(facts.get("started_from"), key) if facts else 0
