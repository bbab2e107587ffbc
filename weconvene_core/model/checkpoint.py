"""Checkpoints without pickle: one safetensors file with a JSON description."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from weconvene_core.atomic_files import write_bytes_atomically
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


def write_tensors(path: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write tensors and their JSON description into one file, so that a kill leaves either the old file or the new one.

    Raises
    ------
    WeconveneError
        If the file cannot be written (folder, permission, full disk); an older file of that name stays intact.
    """
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with suppress(OSError):  # what is wrong with the folder shows, with a reason, when the file is written
        path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomically(path, save(contiguous, metadata={DESCRIPTION: json.dumps(description)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of :func:`write_tensors`; where it holds the change of another, that one's other tensors too.

    Returns
    -------
    The tensors by name, and the description.

    Raises
    ------
    WeconveneError
        If it, or what it changes, is missing, truncated, or not such a file, or is not what was changed.
    """
    tensors, description = _read(path)
    base = description.get(BASE)
    return (_base_tensors(path, base) | tensors if base else tensors), description


def _base_tensors(path: Path, base: Mapping[str, str]) -> dict[str, Tensor]:
    beside = path.with_name(f"{base['name']}.safetensors")
    tensors, description = _read(beside)
    if description.get(BASE):
        raise WeconveneError(f"the checkpoint {path} changes {beside.name}, which is itself a change: fetch it again.")
    if tensors_hash(tensors).hex() != base["weights"]:
        raise WeconveneError(
            f"the checkpoint {path} changes other weights than those of {beside.name} beside it: fetch both from one "
            "release."
        )
    return tensors


def write_change(path: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """As :func:`write_tensors`, but leave out what the description's base, if it has one, holds alike.

    Raises
    ------
    WeconveneError
        As :func:`write_tensors` and :func:`read_tensors`.
    """
    base = description.get(BASE)
    known = _base_tensors(path, base) if base else {}
    changed = {name: t for name, t in tensors.items() if name not in known or not torch.equal(t, known[name])}
    write_tensors(path, changed, description)


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    try:
        with safe_open(path, framework="pt") as file:
            description = _checked(json.loads((file.metadata() or {})[DESCRIPTION]))
            return {name: file.get_tensor(name) for name in file.keys()}, description  # noqa: SIM118  # no mapping
    except FileNotFoundError as error:
        raise WeconveneError(f"the checkpoint {path} does not exist; train it or check the name.") from error
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise WeconveneError(
            f"the checkpoint {path} is damaged or of another kind ({error}); fetch or train it again."
        ) from error


def _checked(description: Any) -> dict[str, Any]:
    """Return a description as it is; ``ValueError`` where it or its base is not what :func:`release` writes."""
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
    state = {name: t.half() if _is_kernel(t) else t for name, t in state.items()}
    prefix = f"{model.config.distribution}_conditional."
    state[prefix + PACKED] = packed(state.pop(prefix + "_quantized_cdf"), state[prefix + "_cdf_length"])
    description = {"architecture": model.config.to_dict(), **facts}
    if base:
        of_base = weights_hash(path.with_name(f"{base}.safetensors")).hex()
        description[BASE] = {"name": base, "weights": of_base}
    write_change(path, state, description)
    path.with_suffix(".json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def _is_kernel(tensor: Tensor) -> bool:
    """Tell the large convolution kernels from everything else: bounds such as 1e-9 do not survive half precision."""
    return tensor.is_floating_point() and tensor.ndim == 4


def load_model_file(path: Path) -> WeConvene:
    """Load a released checkpoint into a model in evaluation mode (float32, CPU).

    Raises
    ------
    WeconveneError
        If the file is missing, damaged, or does not fit the architecture that it names.
    """
    return model_of(*read_tensors(path), path)


def model_of(state: Mapping[str, Tensor], description: Mapping[str, Any], path: Path) -> WeConvene:
    """Make the model of what :func:`read_tensors` found at ``path``, as :func:`load_model_file`."""
    model = WeConvene(ModelConfig.from_dict(description.get("architecture", {})))
    load_weights(model, state, path)
    return model.to(memory_format=torch.channels_last).eval()


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
    """Start ``model`` from a checkpoint; what it lacks may be a part that changes nothing before it is trained.

    Raises
    ------
    WeconveneError
        As :func:`read_tensors` and :func:`load_weights`.
    """
    state = read_tensors(path)[0]
    known = {renamed(name) for name in state}
    own = {name: t for name, t in model.state_dict().items() if STARTS_AT_ZERO in name and name not in known}
    load_weights(model, own | state, path)


def renamed(name: str) -> str:
    """Return the name of today of a tensor in a checkpoint of any age."""
    for old, new in RENAMED.items():
        name = re.sub(old, new, name)
    return name


def load_weights(model: WeConvene, state: Mapping[str, Tensor], path: Path) -> None:
    """Copy a released state into ``model``.

    Raises
    ------
    WeconveneError
        If names or shapes do not fit, so that the checkpoint belongs to another architecture, or a table of integers
        is stored as something else.
    """
    state, own = {renamed(name): tensor for name, tensor in state.items()}, model.state_dict()
    for name, tensor in state.items():
        if name in own and not (tensor.dtype == own[name].dtype or _are_floats(tensor, own[name])):
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


def _are_floats(*tensors: Tensor) -> bool:
    return all(tensor.is_floating_point() for tensor in tensors)
