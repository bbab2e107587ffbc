"""Checkpoints without pickle: safetensors files with a JSON description; and released models, checked before use."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from weconvene_core import paths
from weconvene_core.atomic_files import write_bytes_atomically, write_text
from weconvene_core.entropy.cdf_tables import PACKED, packed
from weconvene_core.errors import WeconveneError
from weconvene_core.model.presets import ModelConfig
from weconvene_core.model.weconvene import WeConvene

DESCRIPTION = "description"
BASE = "base"  # in a description: {"name", "weights"} of the checkpoint beside it that this one is a change of
STARTS_AT_ZERO = ".chroma."  # what ``luma_first`` adds to a slice network; its last layer is zero
RENAMED = {
    r"^(gain_[lh]f)\.up\.": r"\1.gain.",
    r"^(gain_[lh]f)\.down\.": r"\1.inverse_gain.",
    r"^g_s\.look\.": "g_s.from_shortcut.",
    r"^charm\.(ll_)?networks\.": r"charm.\1slices.",
}
"""What tensors of older checkpoints were called, and their names of today: the one place for such changes."""
STATE = "state.safetensors"  # of a run, in its output folder
STATED = "weights"  # where a description states the SHA-256 of its tensors, in hexadecimal


def write_tensors(path: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write tensors and their JSON description into one file; a kill or a full disk leaves an older one intact.

    Raises
    ------
    WeconveneError
        If the file cannot be written (folder, permission, full disk).
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with suppress(OSError):  # what is wrong with the folder shows, with a reason, when the file is written
        path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomically(path, save(contiguous, metadata={DESCRIPTION: json.dumps(description)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the tensors and the description of a file; where it holds the change of another, that one's tensors too.

    Raises
    ------
    WeconveneError
        If it, or what it changes, is missing, truncated, or not such a file, or is not what was changed.
    """
    tensors, description = _read(path)
    base = description.get(BASE)
    return (_base_tensors(path, base) | tensors if base else tensors), description


def _base_tensors(path: Path, base: Mapping[str, str]) -> dict[str, Tensor]:
    beside = _beside(path, base["name"])
    tensors, description = _read(beside)
    if description.get(BASE):
        raise WeconveneError(f"the checkpoint {path} changes {beside.name}, which is itself a change: fetch it again.")
    if tensors_hash(tensors).hex() != base["weights"]:
        raise WeconveneError(
            f"the checkpoint {path} changes other weights than those of {beside.name} beside it: fetch both from one "
            "release."
        )
    return tensors


def _beside(path: Path, name: str) -> Path:
    """Return the file of the model that ``path`` is a change of: beside it, else among those that ship."""
    beside = path.with_name(f"{name}.safetensors")
    return beside if beside.is_file() else paths.CHECKPOINTS / beside.name


def write_change(path: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """As :func:`write_tensors`, but leave out what the description's base, if it has one, holds alike."""
    base = description.get(BASE)
    known = _base_tensors(path, base) if base else {}
    changed = {name: t for name, t in tensors.items() if name not in known or not torch.equal(t, known[name])}
    write_tensors(path, changed, description)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            description = _description(file)
            return {name: file.get_tensor(name) for name in file.keys()}, description  # noqa: SIM118  # no mapping
    except FileNotFoundError as error:
        raise WeconveneError(f"the checkpoint {path} does not exist; train it or check the name.") from error
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise WeconveneError(
            f"the checkpoint {path} is damaged or of another kind ({error}); fetch or train it again."
        ) from error


def _description(file: Any) -> dict[str, Any]:
    """Return an open file's description; ``ValueError`` or ``KeyError`` where it is not what :func:`release` writes."""
    description = json.loads((file.metadata() or {})[DESCRIPTION])
    if not isinstance(description, dict):
        raise ValueError("its description is no JSON object")
    base = description.get(BASE)
    if base and not (isinstance(base, dict) and all(isinstance(base.get(key), str) for key in ("name", "weights"))):
        raise ValueError("its base has no name and weights")
    return description


def release(model: WeConvene, path: Path, facts: Mapping[str, Any], base: str | None = None) -> None:
    """Write the weights that ship: half-precision kernels, integer coding tables, and a JSON sidecar beside.

    Parameters
    ----------
    facts : how the weights came about (data, steps, time, device, commit); the architecture is added.
    base : the checkpoint beside ``path`` that most weights are those of: only what differs is written.
    """
    # Integer CDF tables travel with the weights: a decoder never recomputes them.
    model.update(force=True, update_quantiles=True)
    # Whatever the training ran on: tables are packed by numpy, and compared with those of the base on the CPU.
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    # Convolution kernels in half precision, nothing else: bounds such as 1e-9 would not survive it.
    state = {name: t.half() if t.is_floating_point() and t.ndim == 4 else t for name, t in state.items()}
    prefix = f"{model.config.distribution}_conditional."
    state[prefix + PACKED] = packed(state.pop(prefix + "_quantized_cdf"), state[prefix + "_cdf_length"])
    description = {"architecture": model.config.to_dict(), **facts}
    if base:
        of_base = weights_hash(_beside(path, base)).hex()
        description[BASE] = {"name": base, "weights": of_base}
    write_change(path, state, description)
    write_text(path.with_suffix(".json"), json.dumps(description, indent=2) + "\n")


def weights_hash(path: Path) -> bytes:
    """Return the SHA-256 (32 bytes) of the tensors of a checkpoint file, whatever its description says."""
    return tensors_hash(read_tensors(path)[0])


def tensors_hash(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the SHA-256 (32 bytes) of tensors and their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.digest()


def load_start(model: WeConvene, path: Path) -> None:
    """Start ``model`` from a checkpoint; what it lacks may be a part that changes nothing before it is trained."""
    state = read_tensors(path)[0]
    known = {renamed(name) for name in state}
    own = {name: t for name, t in model.state_dict().items() if STARTS_AT_ZERO in name and name not in known}
    load_weights(model, own | state, path)


def renamed(name: str) -> str:
    """Return today's name of a tensor in a checkpoint of any age."""
    for old, new in RENAMED.items():
        name = re.sub(old, new, name)
    return name


def load_weights(model: WeConvene, state: Mapping[str, Tensor], path: Path) -> None:
    """Copy a released state into ``model``.

    Raises
    ------
    WeconveneError
        If names, shapes or types do not fit, so that the checkpoint belongs to another architecture or is damaged.
    """
    state, own = {renamed(name): tensor for name, tensor in state.items()}, model.state_dict()
    for name, tensor in state.items():
        floats = tensor.is_floating_point() and name in own and own[name].is_floating_point()
        if name in own and tensor.dtype != own[name].dtype and not floats:
            # loading would convert in silence, and round
            raise WeconveneError(f"The checkpoint {path} holds {name} as {tensor.dtype}, not {own[name].dtype}.")
    full = {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    try:
        model.load_state_dict(full)
    except (RuntimeError, KeyError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise WeconveneError(
            f"the checkpoint {path} belongs to another architecture than {model.config.name!r} ({reason})."
        ) from error


@dataclass(frozen=True)
class LoadedModel:
    """A released model as it is used: its network in floating point and, where there is one, its integer form.

    Attributes
    ----------
    digests : the hashes that files name the network by, of its weights and of earlier forms of the checkpoint.
    exact, exact_digest : the form whose entropy model computes in integers, and its hash.
    metric : what its last training minimised.
    """

    network: WeConvene
    digests: tuple[bytes, ...]
    exact: WeConvene | None = None
    exact_digest: bytes = b""
    metric: str = "mse"

    def matching(self, model_hash: bytes, exact: bool) -> WeConvene | None:
        """Return the network that a file was made with, None if it is of another checkpoint."""
        if exact:
            return self.exact if model_hash == self.exact_digest else None
        return self.network if model_hash in self.digests else None


def description_of(path: Path) -> dict[str, Any]:
    """Return what a checkpoint says of itself, without reading its tensors; nothing where that cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            return _description(file)
    except (KeyError, ValueError, SafetensorError, OSError):
        return {}


def load_checked(path: Path) -> tuple[WeConvene, bytes]:
    """Load a model in evaluation mode (float32, CPU), and return it with the SHA-256 of its weights.

    Raises
    ------
    WeconveneError
        If the file is missing or damaged, does not fit the architecture that it names, holds a number that is none or
        impossible probability tables, or if its weights are not those that it states.
    """
    tensors, description = read_tensors(path)
    model, digest = WeConvene(ModelConfig.from_dict(description.get("architecture", {}))), tensors_hash(tensors)
    load_weights(model, tensors, path)
    if description.get(STATED) not in (None, digest.hex()):
        raise WeconveneError(f"The checkpoint {path} was altered: its weights do not have the hash that it states.")
    for tensor in model.state_dict().values():
        if not torch.isfinite(tensor).all():
            raise WeconveneError(f"The checkpoint {path} holds numbers that are not finite: fetch or train it again.")
    for part in (model.entropy_bottleneck, model.conditional):
        _ = part.tables  # which checks them
    return model.to(memory_format=torch.channels_last).eval(), digest
