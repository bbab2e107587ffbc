"""A training as data: its stages, how it learns, what it draws, and where its files go."""

from __future__ import annotations

import json
import math
import reprlib
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, field, fields, replace
from difflib import get_close_matches
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, TypeAdapter, ValidationError, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass

from weconvene_core.entropy.coding_steps import Quantiser
from weconvene_core.errors import WeconveneError
from weconvene_core.lambdas import QUALITY_MAX, QUALITY_MIN
from weconvene_core.model.config import RENAMED as MODEL_RENAMED
from weconvene_core.model.presets import PRESETS, ModelConfig, preset
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

Count = Annotated[int, Field(strict=True, ge=1)]
Whole = Annotated[int, Field(strict=True, ge=0)]
Positive = Annotated[float, Field(strict=True, gt=0)]
NotNegative = Annotated[float, Field(strict=True, ge=0)]
Quality = Annotated[float, Field(strict=True, ge=QUALITY_MIN, le=QUALITY_MAX)]
Text = Annotated[str, Field(strict=True, min_length=1)]
OneOrMore = BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
PLAIN_NAME, RUN_FOLDER = r"^[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}$", r"[^./\\]"
Checkpoint = Annotated[str, Field(strict=True, pattern=PLAIN_NAME)]

RULES = {"extra": "forbid", "allow_inf_nan": False}
UNKNOWN = "unexpected_keyword_argument"
REASONS = {
    PLAIN_NAME: "it should be a plain name of letters, digits, '.', '_' and '-', without folders",
    RUN_FOLDER: "it should name a folder for this run alone",
    "tuple_type": "it should be a list",
    "too_short": "it should not be empty",
    "too_long": "it has too many entries",
    "string_too_short": "it should not be empty",
    "dataclass_type": "it should be a table of names and values",
}
"""What pydantic says in words for programmers, by the pattern or the type of its errors."""


def _sentence(error: ValidationError, cls: type) -> str:
    """Say what is wrong first, with its place, such as ``stages[1].learning_rate``."""
    found = min(error.errors(), key=lambda one: one["type"] != UNKNOWN)  # after a typo a field is missing, too
    kind, facts, (place, *below) = found["type"], found.get("ctx", {}), found["loc"] or ("",)
    place = fields(cls)[place].name if isinstance(place, int) else place  # given without its name
    known = [field.name for field in fields({"stages": Stage, "model": ModelConfig}.get(place, cls) if below else cls)]
    for part in below:  # without the branches of unions
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if part in known or kind == UNKNOWN else ""
    if kind == UNKNOWN:
        near = get_close_matches(str(below[-1] if below else place), known, 1)
        return f"{place} is unknown: " + (f"perhaps {near[0]} is meant." if near else f"known are {', '.join(known)}.")
    if kind == "missing":
        return f"{place} is missing."
    if kind == "value_error":  # of rules between fields
        return f"{place}: {facts['error']}" if place else str(facts["error"])
    reason = REASONS.get(facts.get("pattern", kind)) or found["msg"].replace("Input", "it")
    return f"{place}={reprlib.repr(found['input'])} is impossible: {reason}."


def _checked(cls: type) -> type:
    """Let a class that pydantic checks raise ``WeconveneError`` with one sentence."""
    build = cls.__init__

    def init(self: Any, *values: Any, **named: Any) -> None:
        try:
            build(self, *values, **named)
        except ValidationError as error:
            raise WeconveneError(_sentence(error, cls)) from None

    cls.__init__ = wraps(build)(init)
    return cls


@_checked
@dataclass(frozen=True, config=RULES)
class Stage:
    """A stretch of training with one schedule and one pair of rate weights (the paper trains in two).

    Attributes
    ----------
    name : what logs call it.
    steps : number of optimiser steps, 1 or more.
    learning_rate, final_rate : the rate falls from the first to the second by half a cosine; both are positive.
    batch : images per step, of all processes together.
    crop : side of the square crops in pixels, a multiple of 32.
    w_lf, w_hf : weights of the LF and HF rates in the loss; the paper's second step sets them apart.
    warmup : steps of linear warm-up.
    transforms : False trains the entropy model alone, on the fixed wavelet pyramid.

    Raises
    ------
    WeconveneError
        For a value of another type or out of range, or a final rate above the first.
    """

    name: Text
    steps: Count
    learning_rate: Positive
    final_rate: Positive
    batch: Count
    crop: Annotated[int, Field(strict=True, gt=0, multiple_of=STRIDE)]
    w_lf: NotNegative = 1.0
    w_hf: NotNegative = 1.0
    warmup: Whole = 50
    transforms: Annotated[bool, Field(strict=True)] = True

    def __post_init__(self) -> None:
        if self.final_rate > self.learning_rate:
            raise WeconveneError(f"final_rate={self.final_rate} is above learning_rate={self.learning_rate}; lower it.")

    def rate_at(self, step: int) -> float:
        """Return the learning rate at ``step`` of this stage, counted from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / (self.warmup + 1)
        progress = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.final_rate + (self.learning_rate - self.final_rate) * 0.5 * (1 + math.cos(math.pi * progress))


@_checked
@dataclass(frozen=True, config=RULES)
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
        For an impossible architecture, no stages, crops that do not fit it, a value of another type or out of range.
    """

    preset: Literal[tuple(PRESETS)]
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)]
    output: Annotated[str, Field(strict=True, pattern=RUN_FOLDER)]
    images: Annotated[tuple[Text, ...], Field(min_length=1), OneOrMore] | None = None
    validation: Text | None = None
    start_from: Checkpoint | None = None
    release: Checkpoint | None = None
    model: Mapping[str, Any] = field(default_factory=dict)
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**63)] = 0
    qualities: tuple[Quality, Quality] | None = None
    optimizer: Literal[tuple(OPTIMIZERS)] = "adam"
    quantiser: Quantiser = "mixed"
    metric: Metric = "mse"
    trains: tuple[Text, ...] = ()
    ema_decay: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.999
    clip_norm: Positive = 1.0
    save_seconds: NotNegative = 240.0
    log_every: Count = 20
    validate_every: Whole = 0
    validate_qualities: tuple[Quality, ...] | None = None
    lambda_exponent: NotNegative = LAMBDA_EXPONENT
    largest_loss: Annotated[float, Field(strict=True, ge=1e-3)] | None = None
    scale_min: Annotated[float, Field(strict=True, ge=0.25, le=1)] = 1.0
    quality_exponent: Annotated[float, Field(strict=True, ge=0.25, le=4)] = 1.0
    synthetic_share: Annotated[float, Field(strict=True, ge=0, le=0.5)] = 0.0
    synthetic_images: Text = "synthetic"

    @field_validator("model")
    @classmethod
    def _fits(cls, changes: Mapping[str, Any], info: ValidationInfo) -> Mapping[str, Any]:
        if "preset" in info.data:
            values = json.dumps(_changed(info.data["preset"], changes), default=str)
            TypeAdapter(ModelConfig).validate_json(values, strict=True, extra="forbid")
        return changes

    def __post_init__(self) -> None:
        stride = self.architecture.stride
        for index, stage in enumerate(self.stages):
            named = f"stages[{index}].crop={stage.crop} is impossible:"
            if stage.crop % stride:
                raise WeconveneError(f"{named} the preset {self.preset!r} needs multiples of {stride}.")
            if self.metric == "ms_ssim" and stage.crop < MS_SSIM_SIDE:
                raise WeconveneError(f"{named} metric='ms_ssim' needs {MS_SSIM_SIDE} or more, for its coarsest scale.")

    @property
    def architecture(self) -> ModelConfig:
        """The preset with this configuration's changes."""
        return ModelConfig.from_dict(_changed(self.preset, self.model))

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
        return cls(**values)


def _changed(name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a preset's fields with changes, by their names of today."""
    return preset(name).to_dict() | {MODEL_RENAMED.get(name, name): value for name, value in changes.items()}


def load_config(path: Path | str) -> TrainConfig:
    """Read a training configuration from a ``.json`` or ``.toml`` file.

    Raises
    ------
    WeconveneError
        If the file is missing, not parseable, or its content does not fit.
    """
    path = Path(path)
    kind, parse = ("TOML", tomllib.loads) if path.suffix.lower() == ".toml" else ("JSON", json.loads)
    try:  # Windows' editors begin a file with a byte-order mark
        return TrainConfig.from_dict(parse(path.read_text(encoding="utf-8-sig")))
    except WeconveneError as error:
        reason = str(error)
    except OSError as error:
        reason = f"the training configuration cannot be read ({error.strerror})."
    except UnicodeDecodeError:
        reason = "the training configuration is not UTF-8 text: save it as such."
    except (ValueError, RecursionError) as error:
        reason = f"the training configuration is not valid {kind}: {error}."
    raise WeconveneError(f"{path}: {reason}")
