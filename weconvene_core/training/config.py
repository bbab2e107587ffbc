"""A training as data: its stages, how it learns, what it draws, and where its files go."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

from weconvene_core.entropy.coding_steps import Quantiser
from weconvene_core.errors import WeconveneError
from weconvene_core.layers.blocks import check_quality
from weconvene_core.model.presets import ModelConfig, preset
from weconvene_core.model.weconvene import STRIDE
from weconvene_core.training.losses import LAMBDA_EXPONENT, MS_SSIM_SIDE, Metric
from weconvene_core.training.soap import OPTIMIZERS

RENAMED = {"phases": "stages", "phase": "stage", "pack_steps": None, "compile": None, "tensorboard": None}
"""Fields of older configurations and columns of older logs: their names of today, None for what has no meaning now."""
FREE = (
    *("output", "release", "images", "synthetic_images", "synthetic_share", "largest_loss"),
    *("save_seconds", "log_every", "validation", "validate_every", "validate_qualities"),
)
"""Fields that may change while a run goes on."""
RANGES = {
    "scale_min": (0.25, 1.0), "quality_exponent": (0.25, 4.0), "synthetic_share": (0.0, 0.5),
    "largest_loss": (1e-3, math.inf),
}  # fmt: skip
CHOICES = {"optimizer": tuple(OPTIMIZERS), "quantiser": get_args(Quantiser), "metric": get_args(Metric)}


def _require(condition: bool, sentence: str) -> None:
    if not condition:
        raise WeconveneError(sentence)


@dataclass(frozen=True)
class Stage:
    """A stretch of training with one schedule and one pair of rate weights (the paper trains in two).

    Attributes
    ----------
    name : what logs call it.
    steps : number of optimiser steps, 1 or more.
    learning_rate, final_rate : the rate falls from the first to the second by half a cosine.
    batch : images per step, of all processes together.
    crop : side of the square crops in pixels, a multiple of 32.
    w_lf, w_hf : weights of the LF and HF rates in the loss; the paper's second step sets them apart.
    warmup : steps of linear warm-up.
    transforms : False trains the entropy model alone, on the fixed wavelet pyramid.

    Raises
    ------
    WeconveneError
        For fewer than one step or image, a crop that is no multiple of 32, or a rate that is not positive.
    """

    name: str
    steps: int
    learning_rate: float
    final_rate: float
    batch: int
    crop: int
    w_lf: float = 1.0
    w_hf: float = 1.0
    warmup: int = 50
    transforms: bool = True

    def __post_init__(self) -> None:
        named, falls = f"stage {self.name!r} has", 0 < self.final_rate <= self.learning_rate
        counts = f"steps={self.steps} and batch={self.batch}"
        rates = f"learning_rate={self.learning_rate} and final_rate={self.final_rate}"
        _require(self.steps >= 1 and self.batch >= 1, f"{named} {counts}; both must be 1 or more.")
        _require(self.crop > 0 and self.crop % STRIDE == 0, f"{named} crop={self.crop}; use a multiple of {STRIDE}.")
        _require(falls, f"{named} {rates}; both must be positive and the final one not larger.")

    def rate_at(self, step: int) -> float:
        """Return the learning rate at ``step`` of this stage, counted from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / (self.warmup + 1)
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.final_rate + (self.learning_rate - self.final_rate) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    Attributes
    ----------
    preset, model : name of the architecture, and changes to it (fields of ``ModelConfig``; ``quality = 2``: one rate).
    stages : what is done one after the other.
    output : folder of the state and the logs, below ``WECONVENE_RUNS`` or the repository.
    images : one or more folders, below ``WECONVENE_DATA`` or as they are; None: the default training images.
    validation : CSV that lists the validation pictures (``images.validation_paths``); None: every 40th picture.
    start_from, release : checkpoint whose weights the run starts from, and the one that its average becomes.
    seed : every step draws from (seed, step) alone.
    qualities, quality_exponent : range that is drawn from (None: all of the model), as a uniform number to this power.
    optimizer, quantiser, metric : ``adam`` or ``soap``; what stands for rounding; ``mse`` or ``ms_ssim``.
    trains : prefixes of the parameters that are trained (none: all); what is released is the change of ``start_from``.
    ema_decay, clip_norm : decay of the weights' average; largest norm of a gradient.
    save_seconds, log_every, validate_every : seconds between two saved states; steps between two rows of the logs.
    validate_qualities : None for low, middle and high.
    lambda_exponent, largest_loss : balance the images of a batch (``losses.RateDistortion.balanced``).
    scale_min : half of the crops are shrunk by up to this factor.
    synthetic_share, synthetic_images : share of the crops drawn from synthetic pictures, and their folder.

    Raises
    ------
    WeconveneError
        For an impossible architecture, no stages, crops that do not fit it, a number out of range, an unknown name.
    """

    preset: str
    stages: tuple[Stage, ...]
    output: str
    images: str | tuple[str, ...] | None = None
    validation: str | None = None
    start_from: str | None = None
    release: str | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    qualities: tuple[float, float] | None = None
    optimizer: str = "adam"
    quantiser: Quantiser = "mixed"
    metric: Metric = "mse"
    trains: tuple[str, ...] = ()
    ema_decay: float = 0.999
    clip_norm: float = 1.0
    save_seconds: float = 240.0
    log_every: int = 20
    validate_every: int = 0
    validate_qualities: tuple[float, ...] | None = None
    lambda_exponent: float = LAMBDA_EXPONENT
    largest_loss: float | None = None
    scale_min: float = 1.0
    quality_exponent: float = 1.0
    synthetic_share: float = 0.0
    synthetic_images: str = "synthetic"

    def __post_init__(self) -> None:
        for name in ("images", "validate_qualities", "trains", "qualities"):
            if isinstance(getattr(self, name), list):  # JSON and TOML have no tuples
                object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.qualities is not None:
            two = len(self.qualities) == 2
            _require(two, f"qualities={list(self.qualities)} is no range; give the lowest and the highest.")
            object.__setattr__(self, "qualities", tuple(check_quality(value) for value in self.qualities))
        stride, crops = self.architecture.stride, [stage.crop for stage in self.stages]
        _require(bool(self.stages), "the training configuration has no stages; give at least one.")
        for stage in self.stages:
            named = f"stage {stage.name!r} has crop={stage.crop}"
            _require(stage.crop % stride == 0, f"{named}; {self.preset!r} needs multiples of {stride}.")
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            inside = value is None or low <= value <= high
            _require(inside, f"{name}={value} is impossible; use {low:g} to {high:g}.")
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            _require(value in choices, f"{name}={value!r} is unknown; use one of {', '.join(choices)}.")
        large = self.metric != "ms_ssim" or min(crops) >= MS_SSIM_SIDE
        _require(large, f"metric='ms_ssim' needs crops of {MS_SSIM_SIDE} or more, for its coarsest scale.")

    @property
    def architecture(self) -> ModelConfig:
        """The preset with this configuration's changes."""
        return ModelConfig.from_dict({**preset(self.preset).to_dict(), **self.model})

    @property
    def total_steps(self) -> int:
        """Number of optimiser steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def locate(self, step: int) -> tuple[Stage, int]:
        """Return the stage that ``step`` (from 0) falls into, and the step within it."""
        for stage in self.stages:
            if step < stage.steps:
                return stage, step
            step -= stage.steps
        raise WeconveneError(f"step {step} lies beyond the end of the schedule.")

    def goes_on_from(self, other: TrainConfig, step: int) -> bool:
        """Return whether a state that ``other`` left at ``step`` may go on under this configuration.

        The two may differ in the fields of ``FREE``, and in the stages to come: a run at a constant rate can get its
        decay, or more steps, while it goes on. All else must be the same.
        """
        same = {name: getattr(other, name) for name in (*FREE, "stages")}
        return replace(self, **same) == other and self._past(step) == other._past(step)

    def _past(self, step: int) -> list[Stage]:
        """Return the stages up to ``step``; one at a constant rate ends there."""
        past: list[Stage] = []
        for stage in self.stages:
            if step <= 0:
                break
            constant = stage.final_rate == stage.learning_rate
            past.append(replace(stage, steps=min(step, stage.steps)) if constant else stage)
            step -= stage.steps
        return past

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """Build a configuration from JSON or TOML values, of this release or an older one.

        Raises
        ------
        WeconveneError
            If a field is missing, unknown or impossible.
        """
        if not isinstance(values, dict):
            raise WeconveneError("the training configuration is not a table of names and values; see lite_next.toml.")
        values = {RENAMED.get(name, name): value for name, value in values.items()}
        values.pop(None, None)  # type: ignore[call-overload]
        try:
            return cls(**{**values, "stages": tuple(Stage(**stage) for stage in values.get("stages", ()))})
        except TypeError as error:
            known = ", ".join(field.name for field in fields(cls))
            sentence = f"the training configuration does not fit: {error}; its fields are {known}."
            raise WeconveneError(sentence) from error


def load_config(path: Path | str) -> TrainConfig:
    """Read a training configuration from a ``.json`` or ``.toml`` file.

    Raises
    ------
    WeconveneError
        If the file is missing, not parseable, or its content does not fit.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
    except OSError as error:
        raise WeconveneError(f"the training configuration {path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        kind = path.suffix or "JSON"
        raise WeconveneError(f"the training configuration {path} is not valid {kind}: {error}.") from error
    return TrainConfig.from_dict(values)
