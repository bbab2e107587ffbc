"""Sealing a checkpoint: measure, fix, prove and hash the integer arithmetic between the bitstream and y_hat.

A sealed model is the same :class:`WeConvene`, with the same weights, whose h_s and 3DWeChARM are integer networks: one
codec, two sets of networks. Nothing is added to the weights: the integers are the checkpoint's own half-precision
kernels, and the seal, a page of integers in its description, says on which grids their products are rounded.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from weconvene_core.atomic_files import HASH_BYTES
from weconvene_core.entropy.coding_steps import quantise
from weconvene_core.entropy.slices import Prediction
from weconvene_core.errors import WeconveneError
from weconvene_core.exact.fixed_point import (
    ACTIVATION_LIMIT,
    DRAFT_BITS,
    DRAFT_LIMIT,
    ExactConv,
    Grids,
    fingerprint,
    to_fixed_point,
)
from weconvene_core.exact.hyper_synthesis import Z_BITS
from weconvene_core.exact.seal import MOST_BITS, Seal, exact_networks
from weconvene_core.image_tensors import from_8_bit, middle, pad
from weconvene_core.model.checkpoint import load_model_file, read_tensors, tensors_hash, write_change
from weconvene_core.model.config import ModelConfig
from weconvene_core.model.released import STATED, description_of
from weconvene_core.model.weconvene import WeConvene

SEAL = "seal"  # where a checkpoint's description keeps it
HASH, UNSEALED = "hash", "unsealed"
HEX = re.compile(r"(?:[0-9a-f]{2})+")
HEADROOM = 2.0  # how much larger than any measured activation one may become before it is cut off
QUALITIES = 4  # evenly from a model's lowest to its highest
SIDE = 512  # pixels; of larger images the middle is measured


def check_sealable(config: ModelConfig) -> None:
    """Refuse what has no integer form.

    Raises
    ------
    WeconveneError
        If the model has split slice networks, attention, GDN, or joint kernels over several bands.
    """
    spec = config.weconv
    hindrances = {
        f"slice_network={config.slice_network!r}": config.slice_network != "joint",
        "slice_attention=True": config.slice_attention,
        "gdn=True": spec.gdn,
        "joint_high=True": spec.joint_high,
    }
    found = [name for name, there in hindrances.items() if there]
    if found:
        raise WeconveneError(
            f"The model '{config.name}' has {', '.join(found)}, which the exact path lacks: it can only be coded in "
            "floating point."
        )


def seal(model: WeConvene, images: Sequence[np.ndarray]) -> Seal:
    """Measure the activations of ``images`` (H, W, 3) uint8, choose the grids, and prove every sum exact.

    Raises
    ------
    WeconveneError
        If the model cannot be sealed (see :func:`check_sealable`), an activation is too large, or a sum may be inexact.
    """
    check_sealable(model.config)
    if not images:
        raise WeconveneError("Sealing needs at least one image to measure activations on: none was given.")
    draft = Seal.draft(model.config.weconv.wavelet)
    exact, grids = _exact(model, draft)
    for image in images:
        for quality in np.linspace(*model.config.qualities, QUALITIES if model.config.quality is None else 1):
            _observe(exact, image, float(quality))
    found = replace(draft, grids={name: _bits(name, grid.peak) for name, grid in sorted(grids.drafts.items())})
    exact_model(model, found)
    return found


def _bits(name: str, peak: float) -> int:
    """Bits below the point that leave headroom above a peak."""
    if peak >= DRAFT_LIMIT * 2.0**-DRAFT_BITS:
        raise WeconveneError(f"Layer {name} cannot be sealed: its activations exceed {peak:g}; train it further.")
    return min(MOST_BITS, math.floor(math.log2(ACTIVATION_LIMIT / max(HEADROOM * peak, 1e-3))))


@torch.no_grad()
def _observe(exact: WeConvene, image: np.ndarray, quality: float) -> None:
    x = pad(from_8_bit(middle(image, SIDE)), exact.config.stride)
    at = torch.tensor([quality])
    exact.run_entropy_model(*exact.analyse(x, at), at, _rounded)


def _rounded(group: str, prediction: Prediction, target: Tensor | None) -> Tensor:
    assert target is not None
    return quantise(prediction, target)[0]


def exact_model(model: WeConvene, seal: Seal) -> WeConvene:
    """Return a model that shares all parts of ``model`` but h_s, 3DWeChARM and z's medians, which are integers.

    Raises
    ------
    WeconveneError
        As :func:`exact_networks`.
    """
    return _exact(model, seal)[0]


@torch.no_grad()
def _exact(model: WeConvene, seal: Seal) -> tuple[WeConvene, Grids]:
    h_s, charm, grids = exact_networks(model.h_s, model.charm, model.config.weconv.wavelet, seal)
    exact = copy.copy(model)
    exact._modules = dict(model._modules)
    exact.entropy_bottleneck = copy.deepcopy(model.entropy_bottleneck)
    exact.entropy_bottleneck.quantiles.copy_(to_fixed_point(exact.entropy_bottleneck.quantiles, Z_BITS))
    exact.h_s, exact.charm = h_s, charm
    return exact.eval(), grids


def seal_hash(exact: WeConvene, seal: Seal, weights: bytes, unsealed: str) -> bytes:
    """Return the SHA-256 of everything that a file of the exact path depends on.

    That is the checkpoint's tensors, among them the CDF tables (``weights`` is their own hash), the architecture, the
    seal, and the integers that this machine has made of them: one that made others would be found out here.
    """
    said = {"architecture": exact.config.to_dict(), SEAL: seal.to_dict(), UNSEALED: unsealed}
    digest = hashlib.sha256(weights + json.dumps(said, sort_keys=True).encode())
    digest.update(fingerprint(exact.entropy_bottleneck.quantiles))
    for part in (exact.h_s, exact.charm):
        for name, module in part.named_modules():
            own = module.fingerprint if isinstance(module, ExactConv) else fingerprint(*module.buffers(recurse=False))
            digest.update(name.encode() + own)
    return digest.digest()


def read_seal(model: WeConvene, weights: bytes, path: Path) -> tuple[WeConvene, bytes] | None:
    """Return the exact form of a model that was read from ``path``, and its hash; None where it is not sealed.

    ``weights`` is the SHA-256 of the tensors there.

    Raises
    ------
    WeconveneError
        If the seal is damaged, or its hash is not that of what is there.
    """
    entry = description_of(path).get(SEAL)
    if entry is None:
        return None
    if not isinstance(entry, dict):
        raise WeconveneError(f"The seal of {path} is damaged: fetch it, or seal it, again.")
    check_sealable(model.config)
    seal = Seal.from_dict(entry)
    exact = exact_model(model, seal)
    digest = seal_hash(exact, seal, weights, str(entry.get(UNSEALED)))
    if digest.hex() != entry.get(HASH):
        raise WeconveneError(
            f"The checkpoint {path} does not have the integers that it was sealed with: it was altered, or this "
            "machine computes them otherwise; fetch it, or seal it, again."
        )
    return exact, digest


def stated_digests(path: Path) -> list[bytes]:
    """Return the beginnings of all hashes that a checkpoint states of itself: weights, before sealing, and seal.

    Every installed checkpoint is asked when a file looks for its own, so what is damaged here states nothing.
    """
    description = description_of(path)
    seal = description.get(SEAL)
    entry = seal if isinstance(seal, dict) else {}
    stated = (description.get(STATED), *(entry.get(key) for key in (STATED, UNSEALED, HASH)))
    return [bytes.fromhex(text)[:HASH_BYTES] for text in stated if isinstance(text, str) and HEX.fullmatch(text)]


def seal_checkpoint(path: Path, images: Sequence[np.ndarray]) -> bytes:
    """Seal a released checkpoint in its place, anew where it was sealed before, and return its hash.

    Its weights stay as they are.

    Raises
    ------
    WeconveneError
        As :func:`seal`, or if the file cannot be read or written.
    """
    model = load_model_file(path)
    found = seal(model, images)
    tensors, description = read_tensors(path)
    unsealed = description.pop(SEAL, {}).get(UNSEALED) or tensors_hash(tensors).hex()
    weights = tensors_hash(tensors)
    digest = seal_hash(exact_model(model, found), found, weights, unsealed)
    entry = {**found.to_dict(), STATED: weights.hex(), UNSEALED: unsealed, HASH: digest.hex()}
    restated = {STATED: weights.hex()} if STATED in description else {}
    write_change(path, tensors, {**description, **restated, SEAL: entry})
    return digest
