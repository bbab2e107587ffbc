"""Calibrating a checkpoint: measure, fix, check and hash the integer arithmetic between the bitstream and y_hat.

A calibrated model has the same weights; rounded, they are the integer networks of h_s and 3DWeChARM. An
:class:`IntegerPathSpec` in the checkpoint's description says to which scales activations are rounded.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from weconvene_core.atomic_files import HASH_BYTES
from weconvene_core.entropy.charm import LL_WAVELET
from weconvene_core.entropy.coding_steps import quantise
from weconvene_core.errors import WeconveneError
from weconvene_core.exact.fixed_point import ExactConv, IntegerPathSpec, tensors_digest, to_fixed_point
from weconvene_core.exact.hyper_synthesis import Z_BITS, ExactHyperSynthesis
from weconvene_core.exact.integer_lifting import integer_lifting
from weconvene_core.exact.slice_networks import ExactCharm, scale_thresholds, tanh_thresholds
from weconvene_core.image_tensors import from_8_bit, middle, pad
from weconvene_core.layers.blocks import batch_of
from weconvene_core.model.checkpoint import STATED, description_of, load_checked, read_tensors, write_change
from weconvene_core.model.config import ModelConfig
from weconvene_core.model.weconvene import WeConvene

STORED = "seal"  # the key of the integer path in a checkpoint's description; release 0.2 called it a seal
DIGEST, UNCALIBRATED = "hash", "unsealed"  # keys in there: its digest, and that of the weights before calibration
HEX = re.compile(r"(?:[0-9a-f]{2})+")
QUALITIES = 4  # evenly from a model's lowest to its highest
SIDE = 512  # pixels; of larger images the middle is measured


def check_supported(config: ModelConfig) -> None:
    """Refuse a model with split slice networks, attention, GDN or joint kernels by a ``WeconveneError``."""
    hindrances = {
        f"slice_network={config.slice_network!r}": config.slice_network != "joint",
        "slice_attention=True": config.slice_attention,
        "gdn=True": config.weconv.gdn,
        "joint_high=True": config.weconv.joint_high,
    }
    found = [name for name, there in hindrances.items() if there]
    if found:
        raise WeconveneError(
            f"The model '{config.name}' has {', '.join(found)}, which the exact path lacks: it can only be coded in "
            "floating point."
        )


def uncalibrated(config: ModelConfig) -> IntegerPathSpec:
    """Return what needs no measurement; quantizers made from it note the largest activation."""
    wavelets = {name: integer_lifting(name) for name in sorted({config.weconv.wavelet, LL_WAVELET})}
    return IntegerPathSpec(None, wavelets, scale_thresholds(), tanh_thresholds())


@torch.no_grad()
def exact_model(model: WeConvene, spec: IntegerPathSpec) -> WeConvene:
    """Return a model that shares all parts of ``model`` but h_s, 3DWeChARM and z's medians, which are integers.

    A ``WeconveneError`` if a sum may not fit into float64, a ``KeyError`` if ``spec`` is for another architecture.
    """
    exact = copy.copy(model)
    exact._modules = dict(model._modules)
    exact.entropy_bottleneck = copy.deepcopy(model.entropy_bottleneck)
    exact.entropy_bottleneck.quantiles.copy_(to_fixed_point(exact.entropy_bottleneck.quantiles, Z_BITS))
    exact.h_s = ExactHyperSynthesis(model.h_s, spec, model.config.weconv.wavelet)
    exact.charm = ExactCharm(model.charm, exact.h_s.outputs, spec)
    return exact.eval()


@torch.no_grad()
def calibrate(model: WeConvene, images: Sequence[np.ndarray]) -> IntegerPathSpec:
    """Measure the activations of ``images`` (H, W, 3) uint8, choose their scales, and check that every sum is exact.

    A ``WeconveneError`` if the model has no integer form, an activation is too large, or a sum may be inexact.
    """
    check_supported(model.config)
    if not images:
        raise WeconveneError("Calibration needs at least one image to measure activations on: none was given.")
    draft = uncalibrated(model.config)
    exact = exact_model(model, draft)
    for image in images:
        for quality in np.linspace(*model.config.qualities, QUALITIES if model.config.quality is None else 1):
            x, at = pad(from_8_bit(middle(image, SIDE)), model.config.stride), batch_of(quality)
            exact.code_latents(at, lambda _, prediction, y: quantise(prediction, y)[0], *exact.analyse(x, at))
    bits = {name: quantizer.fitting_bits() for name, quantizer in sorted(draft.quantizers.items())}
    spec = replace(draft, activation_bits=bits, quantizers={})
    exact_model(model, spec)
    return spec


def integer_path_digest(exact: WeConvene, spec: IntegerPathSpec, weights: bytes, before: str) -> bytes:
    """Return the SHA-256 of everything that a file of the exact path depends on.

    It covers the checkpoint's tensors (``weights`` is their hash, ``before`` the one before calibration), the
    architecture, ``spec``, and the integers that this machine made of them.
    """
    said = {"architecture": exact.config.to_dict(), STORED: spec.to_dict(), UNCALIBRATED: before}
    digest = hashlib.sha256(weights + json.dumps(said, sort_keys=True).encode())
    digest.update(tensors_digest(exact.entropy_bottleneck.quantiles))
    for part in (exact.h_s, exact.charm):
        for name, module in part.named_modules():
            own = module.digest if isinstance(module, ExactConv) else tensors_digest(*module.buffers(recurse=False))
            digest.update(name.encode() + own)
    return digest.digest()


def load_integer_path(model: WeConvene, weights: bytes, path: Path) -> tuple[WeConvene, bytes] | None:
    """Return the exact form of a model that was read from ``path``, and its digest; None if it is not calibrated.

    ``weights`` is the SHA-256 of the tensors there. A ``WeconveneError`` says what is damaged or was altered.
    """
    entry = description_of(path).get(STORED)
    if entry is None:
        return None
    check_supported(model.config)
    try:
        spec = IntegerPathSpec.from_dict(entry)
        exact = exact_model(model, spec)
        digest = integer_path_digest(exact, spec, weights, entry[UNCALIBRATED])
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise WeconveneError(
            f"The integer path of {path} is damaged, or of another release ({error}): fetch the checkpoint, or "
            "calibrate it, again."
        ) from error
    if digest.hex() != entry.get(DIGEST):
        raise WeconveneError(
            f"The checkpoint {path} does not have the integers that it was calibrated with: it was altered, or this "
            "machine computes them otherwise; fetch it, or calibrate it, again."
        )
    return exact, digest


def stated_digests(path: Path) -> list[bytes]:
    """Return the beginnings of all digests that a checkpoint states: weights, weights before calibration, integer path.

    Every installed checkpoint is asked when a file looks for its own, so a damaged one states nothing.
    """
    description = description_of(path)
    entry = description.get(STORED)
    entry = entry if isinstance(entry, dict) else {}
    stated = (description.get(STATED), *(entry.get(key) for key in (STATED, UNCALIBRATED, DIGEST)))
    return [bytes.fromhex(text)[:HASH_BYTES] for text in stated if isinstance(text, str) and HEX.fullmatch(text)]


def calibrate_checkpoint(path: Path, images: Sequence[np.ndarray]) -> bytes:
    """Calibrate a released checkpoint in its file, for the first time or anew; return its digest.

    Raises as :func:`calibrate`, or if the file cannot be read or written.
    """
    model, weights = load_checked(path)
    spec = calibrate(model, images)
    tensors, description = read_tensors(path)
    before = description.pop(STORED, {}).get(UNCALIBRATED) or weights.hex()
    digest = integer_path_digest(exact_model(model, spec), spec, weights, before)
    entry = {**spec.to_dict(), STATED: weights.hex(), UNCALIBRATED: before, DIGEST: digest.hex()}
    restated = {STATED: weights.hex()} if STATED in description else {}
    write_change(path, tensors, {**description, **restated, STORED: entry})
    return digest
