"""The runner of studies of training: train the experiments that have no points yet, measure them, and write tables.

A training keeps its state in a folder of its own until it is measured, so one that was stopped anywhere goes on.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import Protocol

import pandas as pd
import torch

from lab.complexity.training_flops import total_flops
from lab.paths import ROOT, read_table, save_table, table_path
from lab.rd.metrics import ms_ssim
from weconvene_core.atomic_files import write_text
from weconvene_core.datasets.image_sets import image_set, training_set
from weconvene_core.entropy.distributions import SCALE_MIN
from weconvene_core.errors import WeconveneError
from weconvene_core.image_tensors import middle
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.training.config import TrainConfig
from weconvene_core.training.distributed import ProcessGroup
from weconvene_core.training.images import ImagePool, load_images, load_pool
from weconvene_core.training.trainer import START, Trainer
from weconvene_core.training.validation import estimate

JOBS = ROOT / "runs" / "studies"
QUALITIES = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
SIDE = 384  # of the middle of each validation photograph
MEASURED = ["image", "quality", "bpp", "psnr_db", "ms_ssim"]
RATES = ["bpp_lf", "bpp_hf", "bpp_z"]
SAVE_SECONDS = 120.0
KEYS = ["question", "variant", "seed"]


class Training(Protocol):
    """What a study is made of: a question, what tells it apart from other trainings, and its points."""

    @property
    def question(self) -> str: ...  # noqa: D102

    @property
    def identity(self) -> str: ...  # noqa: D102

    def points(self, budget: float | None, folder: Path) -> pd.DataFrame:
        """Train within a budget of operations, or go on from ``folder``; return what was measured."""


def hashed(*settings: object) -> str:
    """Return twelve digits that tell settings apart."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Experiment:
    """A question, the variant that is tried, and its training.

    ``start`` changes the untrained weights (see :meth:`begin`), ``change`` the untrained network itself; ``share`` is
    that of the study's budget, if it has one. It is measured after the steps ``measured_at`` (none: at the end).
    """

    question: str
    variant: str
    config: TrainConfig
    start: Mapping[str, float] = field(default_factory=dict)
    share: float = 1.0
    change: Callable[[WeConvene], None] | None = None
    measured_at: tuple[int, ...] = ()
    qualities: tuple[float, ...] = QUALITIES

    @property
    def identity(self) -> str:
        """A hash of the settings that are not at their defaults: a new switch makes no other training of an old one."""
        defaults = {field.name: field.default for field in fields(TrainConfig)}
        chosen = {name: value for name, value in self.config.to_dict().items() if value not in (defaults[name], {})}
        chosen |= {"phases": chosen.pop("stages"), "output": ""}  # as when the kept tables were made
        more = [self.change.__name__] if self.change else []  # and not where it is measured: that changes no weight
        return hashed(chosen, self.start, self.share, *more)

    def points(self, budget: float | None, folder: Path) -> pd.DataFrame:
        """Train and measure it, see :func:`run`."""
        return run(self, budget, folder)

    def within(self, budget: float | None) -> TrainConfig:
        """Lengthen or shorten all stages alike, so that the networks cost ``share`` of a budget (operations)."""
        if budget is None:
            return self.config
        scale, stages = self.share * budget / total_flops(self.config), []
        for stage in self.config.stages:
            steps = max(1, round(stage.steps * scale))
            stages.append(replace(stage, steps=steps, warmup=min(stage.warmup, steps // 4)))
        return replace(self.config, stages=tuple(stages))

    @torch.no_grad()
    def begin(self, model: WeConvene) -> None:
        """Change the start: ``step`` multiplies the quantiser's steps, ``scale`` replaces scales taken from data."""
        if "step" in self.start:
            for gain in (model.gain_lf, model.gain_hf):
                gain.gain.rows -= torch.tensor(self.start["step"]).log()
                gain.inverse_gain.rows += torch.tensor(self.start["step"]).log()
        if "scale" in self.start:
            for network in (*model.charm.ll_slices, *model.charm.slices):
                network.set_scale(torch.full_like(network.scale_bias, max(SCALE_MIN, self.start["scale"])))


@dataclass(frozen=True)
class Study:
    """Trainings and two tables; one that was stopped goes on.

    Attributes
    ----------
    table, points : names of the tables.
    compared : makes ``table`` of the points of all experiments that are measured so far.
    point_columns, may_lack : columns of ``points``, and those of them that earlier measurements may lack.
    reference : its training costs what every other may; None: all take the steps that they say.
    facts : columns of ``table`` that cannot be computed from the points again.
    """

    table: str
    points: str
    experiments: tuple[Training, ...]
    compared: Callable[[pd.DataFrame], pd.DataFrame]
    point_columns: Sequence[str]
    reference: Experiment | None = None
    facts: Sequence[str] = ()
    may_lack: Sequence[str] = ()

    def known(self) -> pd.DataFrame:
        """Return the points of earlier trainings that are still wanted and have all that is measured today."""
        nothing = pd.DataFrame(columns=["settings"])
        if not all(table_path(name).is_file() for name in ([self.points, self.table] if self.facts else [self.points])):
            return nothing
        points = read_table(self.points)
        if self.facts:  # the table holds them once per training
            points = points.merge(read_table(self.table)[[*KEYS, *self.facts]], on=KEYS)
        if not {*self.point_columns, "settings"} - {*self.may_lack} <= {*points.columns}:
            return nothing
        return points[points.settings.isin([experiment.identity for experiment in self.experiments])]

    @property
    def budget(self) -> float | None:
        """The operations that a training may cost; None: as many as its steps take."""
        return total_flops(self.reference.config) if self.reference else None

    def missing(self, questions: Sequence[str] = ()) -> dict[str, Training]:
        """Return the experiments without points, by identity: those of some questions and the reference, or all."""
        known = set(self.known().settings)
        wanted = [e for e in self.experiments if not questions or e is self.reference or e.question in questions]
        return {experiment.identity: experiment for experiment in wanted if experiment.identity not in known}

    def train_missing(self, questions: Sequence[str] = (), most: int | None = None) -> Iterator[pd.DataFrame]:
        """Train what has no points yet, or take those of :meth:`train_one`; after each, write and yield the table.

        ``most``: stop after so many; the next call goes on. With 0 what is there is put together.
        """
        points, wanted = self.known(), self.missing(questions)
        made = {identity: path for identity in wanted if (path := self.job(identity)).is_file()}
        points = pd.concat([points, *(pd.read_csv(path, dtype={"settings": str}) for path in made.values())])
        todo = [experiment for identity, experiment in wanted.items() if identity not in made][:most]
        for experiment in [None, *todo] if made else todo:  # first those that were jobs of their own, in one table
            if experiment:
                points = pd.concat([points, self.run(experiment)], ignore_index=True)
            save_table(points.reindex(columns=self.point_columns), self.points)
            table = self.compared(points)
            save_table(table, self.table, 4)
            yield table

    def job(self, identity: str) -> Path:
        """Return where the points of a training lie that is a job of its own (a rule of ``notebooks/Snakefile``)."""
        return JOBS / self.table / f"{identity}.csv"

    def train_one(self, identity: str) -> None:
        """Train and measure one experiment, and leave its points in the file of :meth:`job`."""
        experiment = next(e for e in self.experiments if e.identity == identity)
        write_text(self.job(identity), self.run(experiment).to_csv(index=False, lineterminator="\n"))

    def run(self, experiment: Training) -> pd.DataFrame:
        """Train and measure one experiment; the folder of its state goes when its points are there."""
        folder = self.job(experiment.identity).with_suffix("")
        points = experiment.points(self.budget, folder)
        shutil.rmtree(folder, ignore_errors=True)
        return points


@dataclass
class _Trainer(Trainer):
    """A trainer whose untrained model is that of an experiment."""

    experiment: Experiment | None = None

    def _start(self) -> WeConvene:
        model = super()._start()
        if self.experiment and self.experiment.change:
            self.experiment.change(model)
            if not self.config.start_from:  # other transforms, other latents
                model.set_scales_from(self.sampler.draw(0, START, ProcessGroup())[0])
        if self.experiment:
            self.experiment.begin(model)
        return model


def run(experiment: Experiment, budget: float | None, folder: Path) -> pd.DataFrame:
    """Train one experiment, or go on with it; return its points (see :func:`measure`), its names and costs.

    ``step`` is where the average was measured, ``kmac_px_step`` thousand multiplications per pixel and step,
    ``ms_step`` wall time. ``folder`` holds the state and what was measured on the way.
    """
    torch.set_num_threads(1)  # trainings side by side would only fight for more
    config = experiment.within(budget)
    pool = load_images(config, quiet=True) if config.images else training_images()
    steps = experiment.measured_at or (config.total_steps,)

    def points_of(step: int) -> Path:
        return folder / f"points_{step}.csv"

    def watch(trainer: Trainer) -> None:
        if trainer.step in steps:
            found = measure(trainer.ema, pool, experiment.qualities).assign(step=trainer.step)
            write_text(points_of(trainer.step), found.to_csv(index=False, lineterminator="\n"))

    kept = replace(config, output=str(folder), save_seconds=SAVE_SECONDS, log_every=math.gcd(*steps))
    trainer = _Trainer(kept, pool, quiet=True, experiment=experiment)
    trainer.run(watch)
    operations = total_flops(config)
    pixels = sum(stage.steps * stage.batch * stage.crop**2 for stage in config.stages)
    return pd.concat([pd.read_csv(points_of(step)) for step in steps], ignore_index=True).assign(
        question=experiment.question, variant=experiment.variant, seed=config.seed, settings=experiment.identity,
        steps=config.total_steps, gflops=operations / 1e9, kmac_px_step=operations / 2e3 / pixels,
        ms_step=1e3 * trainer.seconds / config.total_steps,
    )  # fmt: skip


def train(config: TrainConfig, pool: ImagePool, begin: Callable[[WeConvene], None] | None = None) -> WeConvene:
    """Train in a scratch folder; ``begin`` changes the untrained model. Return the average, which is what counts."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(replace(config, output=scratch, save_seconds=1e9, log_every=10**9), pool)
        for network in (trainer.model, trainer.ema) if begin else ():
            begin(network)
        return trainer.run(resume=False)


def measure(model: WeConvene, pool: ImagePool, qualities: Sequence[float] = QUALITIES) -> pd.DataFrame:
    """Return loss, rates, psnr_db and ms_ssim (empty under 161 pixels) of the validation photographs' middles."""
    model.eval()
    rows = []
    for number, image in enumerate(middle(image, SIDE) for image in pool.validation):
        for quality in qualities:
            numbers, picture = estimate(model, image, quality)
            rows.append({"image": number, "quality": quality, **numbers, "ms_ssim": ms_ssim(image, picture)})
    return pd.DataFrame(rows)


@lru_cache
def training_images() -> ImagePool:
    """Return the training images, decoded once a process.

    Raises
    ------
    WeconveneError
        If there is no training folder: a study of the four fallback photographs would take a real one's place.
    """
    images = training_set()
    if images == image_set("default"):
        raise WeconveneError(
            "A study needs training photographs, and only the four fallbacks are here: point WECONVENE_DATA to a "
            "folder with photographs in train/. Kept tables stay as they are."
        )
    return load_pool(images.paths)


def main(study: Study, description: str) -> None:
    """Train what is missing of a study, and print its table as it grows."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("questions", nargs="*", metavar="QUESTION", help="questions to answer (all)")
    parser.add_argument("--trainings", type=int, metavar="N", help="stop after so many; the next call goes on")
    parser.add_argument("--missing", action="store_true", help="only print what tells the missing trainings apart")
    parser.add_argument("--only", metavar="IDENTITY", help="make the points of one of them, and no table")
    options = parser.parse_args()
    try:
        if options.missing:
            print(*study.missing(options.questions))
        elif options.only:
            study.train_one(options.only)
        else:
            for table in study.train_missing(options.questions, options.trainings):
                print(table.to_string(index=False), flush=True)
    except WeconveneError as error:
        sys.exit(f"error: {error}")
