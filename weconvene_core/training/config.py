"""The two training steps as data: what is trained, for how long, at which rate, with which LF and HF weights."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_args

from weconvene_core.entropy.coding_steps import Quantiser
from weconvene_core.errors import WeconveneError
from weconvene_core.layers.rate_conditioning import check_quality
from weconvene_core.model.presets import ModelConfig, preset
from weconvene_core.model.weconvene import STRIDE
from weconvene_core.training.losses import LAMBDA_EXPONENT, METRICS, MS_SSIM_SIDE, Metric
from weconvene_core.training.soap import OPTIMIZERS

SMALLEST_SCALE = 0.25
FREE = (
    "output",
    "images",
    "release",
    "save_seconds",
    "log_every",
    "validate_every",
    "tensorboard",
    "validation",
    "validate_qualities",
    "synthetic_share",
    "largest_loss",
)
"""Fields that may change while a run goes on."""


@dataclass(frozen=True)
class Stage:
    """A stretch of training.

    ``learning_rate`` falls to ``final_rate`` by half a cosine after ``warmup`` steps; ``w_lf`` and ``w_hf`` weight the
    two rates (the paper's second step); ``transforms`` False trains the entropy model alone on the fixed pyramid.
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
        """Refuse impossible values.

        Raises
        ------
        WeconveneError
            For fewer than one step or image, a crop that is no multiple of 32, or a rate that is not positive.
        """
        if self.steps < 1 or self.batch < 1:
            raise WeconveneError(
                f"phase {self.name!r} has steps={self.steps} and batch={self.batch}; both must be 1 or more."
            )
        if self.crop < STRIDE or self.crop % STRIDE:
            raise WeconveneError(f"phase {self.name!r} has crop={self.crop}; use a multiple of {STRIDE}.")
        if not 0 < self.final_rate <= self.learning_rate:
            raise WeconveneError(
                f"phase {self.name!r} has learning_rate={self.learning_rate} and final_rate={self.final_rate}; "
                "both must be positive and the final one not larger."
            )

    def rate_at(self, step: int) -> float:
        """Learning rate at ``step`` of this phase, counted from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / (self.warmup + 1)
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.final_rate + (self.learning_rate - self.final_rate) * 0.5 * (1 + math.cos(math.pi * progress))


@dataclass(frozen=True)
class TrainConfig:
    """One training run: preset, folder of images, phases, seed, and where the run's files go.

    ``model`` holds changes to the preset, fields of ``ModelConfig``: ``quality = 2`` trains a model of that rate alone.
    ``images`` is a folder or several; a relative one is looked for in ``WECONVENE_DATA`` first. None means the default
    training images (see ``datasets.image_sets.training_folder``). ``validation`` is the list of the pictures that
    validate (see ``data.validation_paths``), None for every 40th. ``start_from``
    names a released checkpoint whose weights the run starts from, ``release`` the one that its average becomes.
    ``qualities`` are the lowest and the highest that are drawn, None for all that the model has;
    ``validate_qualities`` those that are validated, None for the usual three. ``optimizer`` is
    ``adam`` or ``soap``, ``quantiser`` what stands for rounding (see ``entropy.steps``);
    ``metric`` is the distortion, ``mse`` or ``ms_ssim``. ``trains`` names the parameters
    that are trained by how their names begin, all for none; what is released then is the change of ``start_from``.
    Qualities are drawn as a uniform number to the power of ``quality_exponent``: above 1, low ones are more frequent.
    ``lambda_exponent`` balances the rates of a mixed batch (see ``losses``); no image counts for more than
    ``largest_loss`` (None: no limit). ``scale_min`` below 1 shrinks half of the crops by up to that factor; a crop is a
    synthetic picture (see ``synthetic``) with the probability ``synthetic_share``; a pack of images (see ``packs``)
    serves ``pack_steps`` steps. ``save_seconds`` lie between two saved states; ``compile`` has torch.compile fuse the
    step, which also draws the noise in its own way.
    """

    preset: str
    phases: tuple[Stage, ...]
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
    pack_steps: int = 1000
    compile: bool = False
    tensorboard: bool = False

    def __post_init__(self) -> None:
        """Check the architecture, and that there is something to do.

        Raises
        ------
        WeconveneError
            For an impossible architecture, no phases, a crop that does not fit it, a scale outside 0.25..1, a synthetic
            share outside 0..0.5, qualities that are no range, or a pack that serves no step.
        """
        stride = self.architecture.stride
        for name in ("images", "validate_qualities", "trains"):  # JSON and TOML have lists
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        if self.qualities is not None:
            object.__setattr__(self, "qualities", _quality_range(self.qualities))
        if not self.phases:
            raise WeconveneError("the training configuration has no phases; give at least one.")
        for phase in self.phases:
            if phase.crop % stride:
                raise WeconveneError(
                    f"phase {phase.name!r} has crop={phase.crop}; {self.preset!r} needs multiples of {stride}."
                )
        self._check_choices()
        if self.metric == "ms_ssim" and min(phase.crop for phase in self.phases) < MS_SSIM_SIDE:
            raise WeconveneError(f"metric='ms_ssim' needs crops of {MS_SSIM_SIDE} or more, for its coarsest scale.")

    def _check_choices(self) -> None:
        """Refuse numbers outside their range, and unknown names."""
        ranges = {
            "scale_min": (SMALLEST_SCALE, 1), "quality_exponent": (0.25, 4), "pack_steps": (1, math.inf),
            "synthetic_share": (0, 0.5), "largest_loss": (1e-3, math.inf),
        }  # fmt: skip
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise WeconveneError(f"{name}={value} is impossible; use {low:g} to {high:g}.")
        kinds = {"optimizer": OPTIMIZERS, "quantiser": get_args(Quantiser), "metric": METRICS}
        for name, choices in kinds.items():
            if getattr(self, name) not in choices:
                raise WeconveneError(f"{name}={getattr(self, name)!r} is unknown; use one of {', '.join(choices)}.")

    @property
    def architecture(self) -> ModelConfig:
        """The preset with this configuration's changes."""
        return ModelConfig.from_dict({**preset(self.preset).to_dict(), **self.model})

    @property
    def total_steps(self) -> int:
        """Number of optimiser steps of all phases."""
        return sum(phase.steps for phase in self.phases)

    def locate(self, step: int) -> tuple[Stage, int]:
        """Return the phase that ``step`` (from 0) falls into, and the step within it."""
        for phase in self.phases:
            if step < phase.steps:
                return phase, step
            step -= phase.steps
        raise WeconveneError(f"step {step} lies beyond the end of the schedule.")

    def goes_on_from(self, other: TrainConfig, step: int) -> bool:
        """Whether a state that ``other`` left at ``step`` may go on under this configuration.

        Both may differ in names, places, what is written when, which pictures are drawn, and in what comes later: a
        run at a constant rate can be given its decay, or more steps, while it goes on. All else must be the same.
        """
        same = {name: getattr(other, name) for name in (*FREE, "phases")}
        return replace(self, **same) == other and self._past(step) == other._past(step)

    def _past(self, step: int) -> list[Stage]:
        """Return the phases up to ``step``; one at a constant rate ends there."""
        past: list[Stage] = []
        for phase in self.phases:
            if step <= 0:
                break
            constant = phase.final_rate == phase.learning_rate
            past.append(replace(phase, steps=min(step, phase.steps)) if constant else phase)
            step -= phase.steps
        return past

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TrainConfig:
        """Build a configuration from JSON or TOML values.

        Raises
        ------
        WeconveneError
            If a field is missing, unknown or impossible.
        """
        if not isinstance(values, dict):
            raise WeconveneError("the training configuration is not a table of names and values; see lite_next.toml.")
        try:
            phases = tuple(Stage(**phase) for phase in values.get("phases", ()))
            return cls(**{**values, "phases": phases})
        except TypeError as error:
            known = ", ".join(field.name for field in fields(cls))
            raise WeconveneError(
                f"the training configuration does not fit: {error}; its fields are {known}."
            ) from error


def _quality_range(values: Sequence[float]) -> tuple[float, float]:
    if len(values) != 2:
        raise WeconveneError(f"qualities={list(values)} is no range; give the lowest and the highest.")
    return check_quality(values[0]), check_quality(values[1])


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
        raise WeconveneError(
            f"the training configuration {path} cannot be read ({error.strerror}); check the path."
        ) from error
    except ValueError as error:
        raise WeconveneError(
            f"the training configuration {path} is not valid {path.suffix or 'JSON'}: {error}."
        ) from error
    return TrainConfig.from_dict(values)
