"""The runner of studies of training: train the experiments that have no points yet, measure them, and write tables."""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path

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
from weconvene_core.training.images import ImagePool, load_pool
from weconvene_core.training.trainer import Trainer
from weconvene_core.training.validation import estimate

JOBS = ROOT / "runs" / "studies"
QUALITIES = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)
SIDE = 384  # of the middle of each validation photograph
MEASURED = ["image", "quality", "bpp", "psnr_db", "ms_ssim"]
KEYS = ["question", "variant", "seed"]


@dataclass(frozen=True)
class Experiment:
    """A question, the variant that is tried, and its training.

    ``start`` changes the untrained model (see :meth:`begin`); ``share`` is that of the study's budget, if it has one.
    """

    question: str
    variant: str
    config: TrainConfig
    start: Mapping[str, float] = field(default_factory=dict)
    share: float = 1.0

    @property
    def identity(self) -> str:
        """A hash of the settings that are not at their defaults: a new switch makes no other training of an old one."""
        defaults = {field.name: field.default for field in fields(TrainConfig)}
        chosen = {name: value for name, value in self.config.to_dict().items() if value not in (defaults[name], {})}
        chosen |= {"phases": chosen.pop("stages"), "output": ""}  # as when the kept tables were made
        text = json.dumps([chosen, self.start, self.share], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

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
    """Experiments and two tables; one that was stopped goes on.

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
    experiments: tuple[Experiment, ...]
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

    def missing(self, questions: Sequence[str] = ()) -> dict[str, Experiment]:
        """Return the experiments without points, by identity: those of some questions and the reference, or all."""
        known = set(self.known().settings)
        wanted = [e for e in self.experiments if not questions or e is self.reference or e.question in questions]
        return {experiment.identity: experiment for experiment in wanted if experiment.identity not in known}

    def train_missing(self, questions: Sequence[str] = (), most: int | None = None) -> Iterator[pd.DataFrame]:
        """Train what has no points yet, or take those of :meth:`train_one`; after each, write and yield the table.

        ``most``: stop after so many; the next call goes on.
        """
        points = self.known()
        for identity, experiment in list(self.missing(questions).items())[:most]:
            path = self.job(identity)
            done = pd.read_csv(path, dtype={"settings": str}) if path.is_file() else run(experiment, self.budget)
            points = pd.concat([points, done], ignore_index=True)
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
        write_text(self.job(identity), run(experiment, self.budget).to_csv(index=False, lineterminator="\n"))


def run(experiment: Experiment, budget: float | None) -> pd.DataFrame:
    """Train and measure one experiment; return its points (:data:`MEASURED`), names and costs.

    ``kmac_px_step`` is thousand multiplications per pixel and step, ``ms_step`` processor time.
    """
    pool, config = training_images(), experiment.within(budget)
    started = time.process_time()
    model = train(config, pool, experiment.begin)
    seconds = time.process_time() - started
    operations = total_flops(config)
    pixels = sum(stage.steps * stage.batch * stage.crop**2 for stage in config.stages)
    return measure(model, pool)[MEASURED].assign(
        question=experiment.question, variant=experiment.variant, seed=config.seed, settings=experiment.identity,
        steps=config.total_steps, gflops=operations / 1e9, kmac_px_step=operations / 2e3 / pixels,
        ms_step=1e3 * seconds / config.total_steps,
    )  # fmt: skip


def train(config: TrainConfig, pool: ImagePool, begin: Callable[[WeConvene], None] | None = None) -> WeConvene:
    """Train in a scratch folder; ``begin`` changes the untrained model. Return the average, which is what counts."""
    torch.set_num_threads(1)  # trainings side by side would only fight for more
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(replace(config, output=scratch, save_seconds=1e9, log_every=10**9), pool)
        for network in (trainer.model, trainer.ema) if begin else ():
            begin(network)
        return trainer.run(resume=False)


def measure(model: WeConvene, pool: ImagePool) -> pd.DataFrame:
    """Return estimated rates, psnr_db and ms_ssim (empty under 161 pixels) of the validation photographs' middles."""
    model.eval()
    rows = []
    for number, image in enumerate(middle(image, SIDE) for image in pool.validation):
        for quality in QUALITIES:
            numbers, picture = estimate(model, image, quality)
            rows.append({"image": number, "quality": quality, **numbers, "ms_ssim": ms_ssim(image, picture)})
    return pd.DataFrame(rows).drop(columns="loss")


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
    if options.missing:
        print(*study.missing(options.questions))
    elif options.only:
        study.train_one(options.only)
    else:
        for table in study.train_missing(options.questions, options.trainings):
            print(table.to_string(index=False), flush=True)
