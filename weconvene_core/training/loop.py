"""The training loop: two steps from data, resumable to the step, with EMA, clipping and validation on whole images."""

from __future__ import annotations

import copy
import csv
import json
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from weconvene_core.errors import WeconveneError
from weconvene_core.evaluation.datasets import folder_set, training_folder
from weconvene_core.model import WeConvene
from weconvene_core.paths import CHECKPOINTS, ROOT
from weconvene_core.presets import preset
from weconvene_core.training.checkpoint import load_weights, read_tensors, release, write_tensors
from weconvene_core.training.data import ImagePool, load_pool, random_batch
from weconvene_core.training.losses import RateDistortion, rate_distortion
from weconvene_core.training.schedule import Phase, TrainConfig, load_config
from weconvene_core.training.validation import validate
from weconvene_core.version import git_version

AUX_RATE = 1e-3  # learning rate of the quantiles of z (CompressAI's auxiliary loss)
STATE, LOG, VALIDATION_LOG = "state.safetensors", "log.csv", "validation.csv"
Watcher = Callable[["Trainer"], None]


def autocast(device: torch.device) -> AbstractContextManager[None]:
    """Return bfloat16 autocast where the hardware multiplies bfloat16 natively, else a context that does nothing."""
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    return torch.autocast("cpu", dtype=torch.bfloat16) if capabilities.get("avx512_bf16") else nullcontext()


@dataclass
class Trainer:
    """One run of a :class:`TrainConfig` on an :class:`ImagePool`.

    ``run`` trains to the end, or resumes where an interrupted run of the same configuration stopped: every step draws
    its images and its noise from (seed, step) alone, so the result is the same.
    """

    config: TrainConfig
    pool: ImagePool
    device: torch.device = field(default_factory=lambda: torch.device("cuda" if torch.cuda.is_available() else "cpu"))

    def __post_init__(self) -> None:
        torch.manual_seed(self.config.seed)
        self.folder = ROOT / self.config.output
        self.model = WeConvene(preset(self.config.preset)).to(self.device, memory_format=torch.channels_last)
        self._start_weights()
        self.ema = copy.deepcopy(self.model).eval()
        self.optimizer, self.aux_optimizer = _optimizers(self.model)
        self.step, self.seconds = 0, 0.0
        self.history: list[dict[str, Any]] = []
        self.validations: list[dict[str, Any]] = []

    def _start_weights(self) -> None:
        if self.config.start_from:
            path = CHECKPOINTS / f"{self.config.start_from}.safetensors"
            load_weights(self.model, read_tensors(path)[0], path)
            return
        images = random_batch(self.pool.train, 16, 128, np.random.default_rng(self.config.seed)).to(self.device)
        self.model.bypass_transforms = self.model.config.shortcut
        self.model.set_scales_from(images)

    def run(self, watch: Watcher | None = None, resume: bool = True) -> WeConvene:
        """Train to the end of the schedule and return the averaged (EMA) model.

        ``watch`` is called after every log line, for live curves. Ctrl-C and other interruptions save the state first.
        """
        if resume and (self.folder / STATE).is_file():
            self.load()
        else:
            for name in (LOG, VALIDATION_LOG):  # a new run starts new logs
                (self.folder / name).unlink(missing_ok=True)
        last_save = time.monotonic()
        try:
            with tqdm(total=self.config.total_steps, initial=self.step, unit="step", mininterval=1.0) as bar:
                while self.step < self.config.total_steps:
                    self._advance(bar, watch)
                    if time.monotonic() - last_save > self.config.save_seconds:
                        self.save()
                        last_save = time.monotonic()
        finally:
            self.save()
        return self.ema

    def _advance(self, bar: tqdm[Any], watch: Watcher | None) -> None:
        started = time.monotonic()
        phase, within = self.config.locate(self.step)
        if within == 0 and phase.transforms and self.model.bypass_transforms and self.step:
            self.ema.load_state_dict(self.model.state_dict())  # newly unlocked networks start their average afresh
        terms = self._train_step(phase, within)
        self.step += 1
        self.seconds += time.monotonic() - started
        bar.update()
        if self.step % self.config.log_every == 0 or self.step == self.config.total_steps:
            self._log(phase, within, terms, bar)
            if watch:
                watch(self)
        if self.config.validate_every and self.step % self.config.validate_every == 0:
            self._validate(bar)

    def _train_step(self, phase: Phase, within: int) -> RateDistortion:
        """One optimiser step; its randomness depends on (seed, step) alone."""
        rng = np.random.default_rng([self.config.seed, self.step])
        torch.manual_seed(int(rng.integers(2**62)))
        x = random_batch(self.pool.train, phase.batch, phase.crop, rng).to(self.device)
        quality = torch.from_numpy(rng.uniform(1.0, 6.0, phase.batch).astype(np.float32)).to(self.device)
        self._enter(phase, within)
        with autocast(self.device):
            output = self.model(x, quality)
        terms = rate_distortion(output, x, quality)
        loss = terms.balanced(phase.w_lf, phase.w_hf)
        if not math.isfinite(loss.item()):
            raise WeconveneError(
                f"the loss became {loss.item()} at step {self.step}; lower the learning rate of {phase.name!r}."
            )
        self._update(loss)
        return terms

    def _enter(self, phase: Phase, within: int) -> None:
        """Set what is trained in this phase, and its learning rate."""
        self.model.train()
        bypass = not phase.transforms and self.model.config.shortcut
        self.model.bypass_transforms = self.ema.bypass_transforms = bypass
        for group in self.optimizer.param_groups:
            group["lr"] = phase.rate_at(within)

    def _update(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.optimizer.param_groups[0]["params"], self.config.clip_norm)
        self.optimizer.step()
        self.aux_optimizer.zero_grad()
        self.model.aux_loss().backward()
        self.aux_optimizer.step()
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            averages, values = list(self.ema.parameters()), list(self.model.parameters())
            torch._foreach_lerp_(averages, values, 1.0 - decay)

    def _log(self, phase: Phase, within: int, terms: RateDistortion, bar: tqdm[Any]) -> None:
        pixels = phase.batch * phase.crop**2
        row = {
            "step": self.step, "phase": phase.name,
            "learning_rate": phase.rate_at(within), "seconds": round(self.seconds, 2),
            "loss": terms.balanced().item(), "bpp": terms.bpp.mean().item(), "bpp_lf": terms.r_lf.mean().item(),
            "bpp_hf": terms.r_hf.mean().item(), "bpp_z": terms.r_z.mean().item(),
            "psnr_db": (-10 * terms.mse.detach().log10()).mean().item(), "pixels": pixels,
        }  # fmt: skip
        self.history.append(row)
        _append_csv(self.folder / LOG, row)
        bar.set_postfix(
            phase=phase.name, loss=f"{row['loss']:.3f}", bpp=f"{row['bpp']:.3f}", psnr=f"{row['psnr_db']:.2f}"
        )

    def _validate(self, bar: tqdm[Any]) -> None:
        """Measure the averaged model on whole images: crops can look well while whole images collapse."""
        with autocast(self.device):
            rows = validate(self.ema, self.pool.validation)
        for row in rows:
            row = {"step": self.step, "seconds": round(self.seconds, 1), **row}
            self.validations.append(row)
            _append_csv(self.folder / VALIDATION_LOG, row)
        bar.write(
            f"step {self.step}: "
            + "  ".join(f"q{r['quality']:g} {r['bpp']:.3f} bpp {r['psnr_db']:.2f} dB" for r in rows)
        )

    def facts(self) -> dict[str, Any]:
        """What a released checkpoint says of its making."""
        path = CHECKPOINTS / f"{self.config.start_from}.json"
        start = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        return {
            "total_steps": self.step + total(start, "steps"),
            "total_seconds": round(self.seconds + total(start, "seconds")),
            "steps": self.step, "seconds": round(self.seconds), "device": device_name(self.device),
            "training_images": len(self.pool.train), "training_megapixels": round(self.pool.pixels / 1e6, 1),
            "commit": git_version(ROOT), "config": self.config.to_dict(), "started_from": start,
        }  # fmt: skip

    # --- state -----------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write weights, average, optimiser state and position."""
        tensors = {f"model/{name}": t for name, t in self.model.state_dict().items()}
        tensors |= {f"ema/{name}": t for name, t in self.ema.state_dict().items()}
        for label, optimizer in (("adam", self.optimizer), ("aux", self.aux_optimizer)):
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"{label}/{index}/{key}": value for key, value in state.items()}
        position = {
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history,
            "config": self.config.to_dict(),
        }
        write_tensors(self.folder / STATE, tensors, position)

    def load(self) -> None:
        """Continue from the state of an interrupted run.

        Raises
        ------
        WeconveneError
            If the state is damaged or belongs to another configuration.
        """
        tensors, position = read_tensors(self.folder / STATE)
        if TrainConfig.from_dict(position["config"]) != self.config:
            raise WeconveneError(
                f"{self.folder} holds the state of another configuration; choose another output folder or remove it."
            )
        self.model.load_state_dict(_under("model/", tensors))
        self.ema.load_state_dict(_under("ema/", tensors))
        for label, optimizer in (("adam/", self.optimizer), ("aux/", self.aux_optimizer)):
            optimizer.load_state_dict(_optimizer_state(optimizer, _under(label, tensors)))
        self.step, self.seconds, self.history = position["step"], position["seconds"], position["history"]


def train_from_config(path: Path | str) -> WeConvene:
    """Train as a configuration file says, resuming an interrupted run; release the average where the file says so.

    Raises
    ------
    WeconveneError
        If the configuration, its images or its start are unusable, or the loss stops being finite.
    """
    config = load_config(path)
    pool = load_pool(folder_set(Path(config.images) if config.images else training_folder()).paths)
    for name in pool.skipped:
        tqdm.write(f"left out, unreadable: {name}")
    if small := pool.count_smaller_than(max(phase.crop for phase in config.phases)):
        tqdm.write(f"{small} of {len(pool.train)} training images are smaller than the crop: padded by reflection")
    trainer = Trainer(config, pool)
    model = trainer.run()
    if config.release:
        release(model, CHECKPOINTS / f"{config.release}.safetensors", trainer.facts())
    return model


def _optimizers(model: WeConvene) -> tuple[torch.optim.Adam, torch.optim.Adam]:
    """Adam for the weights, another for the factorised prior's quantiles (CompressAI's convention)."""
    quantiles = [p for name, p in model.named_parameters() if name.endswith(".quantiles")]
    weights = [p for name, p in model.named_parameters() if not name.endswith(".quantiles")]
    return torch.optim.Adam(weights, lr=1e-3), torch.optim.Adam(quantiles, lr=AUX_RATE)


def total(facts: dict[str, Any] | None, key: str) -> float:
    """Sum ``key`` over a checkpoint's facts and those of all that it started from."""
    return facts[key] + total(facts.get("started_from"), key) if facts else 0


def device_name(device: torch.device) -> str:
    """Return what the training ran on, e.g. ``CPU, 2 threads`` or the GPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _optimizer_state(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split("/")
        state.setdefault(int(index), {})[key] = tensor
    return {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}


def _append_csv(path: Path, row: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(row))
        if new:
            writer.writeheader()
        writer.writerow(row)
