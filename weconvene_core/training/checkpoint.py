"""Checkpoints without pickle: one safetensors file with a JSON description, written aside and renamed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from weconvene_core.errors import WeconveneError
from weconvene_core.model import WeConvene
from weconvene_core.presets import ModelConfig

DESCRIPTION = "description"
STATE = "state.safetensors"  # of a run, in its output folder


def write_tensors(path: Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write tensors and their JSON description into one file, so that a kill leaves either the old file or the new one.

    Raises
    ------
    WeconveneError
        If the file cannot be written (folder, permission, full disk); an older file of that name stays intact.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(contiguous, temporary, metadata={DESCRIPTION: json.dumps(description)})
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # on the disk before the name: a power cut must not leave an empty file
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise WeconveneError(
            f"the checkpoint {path} cannot be written ({error}); check space and permission."
        ) from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of :func:`write_tensors`.

    Raises
    ------
    WeconveneError
        If it is missing, truncated, or not such a file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            description = json.loads((file.metadata() or {})[DESCRIPTION])
            return {name: file.get_tensor(name) for name in file.keys()}, description  # noqa: SIM118  # no mapping
    except FileNotFoundError as error:
        raise WeconveneError(f"the checkpoint {path} does not exist; train it or check the name.") from error
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise WeconveneError(
            f"the checkpoint {path} is damaged or of another kind ({error}); fetch or train it again."
        ) from error


def release(model: WeConvene, path: Path, facts: Mapping[str, Any]) -> None:
    """Write the weights that ship: half-precision kernels, integer coding tables, and a JSON sidecar beside.

    ``facts`` says how the weights came about (data, steps, time, device, commit); the architecture is added.
    """
    # Integer CDF tables travel with the weights: a decoder never recomputes them.
    model.update(force=True, update_quantiles=True)
    state = {name: t.half() if _is_kernel(t) else t for name, t in model.state_dict().items()}
    description = {"architecture": model.config.to_dict(), **facts}
    write_tensors(path, state, description)
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
    state, description = read_tensors(path)
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


def load_weights(model: WeConvene, state: Mapping[str, Tensor], path: Path) -> None:
    """Copy a released state into ``model``.

    Raises
    ------
    WeconveneError
        If names or shapes do not fit: the checkpoint belongs to another architecture.
    """
    full = {name: t.float() if t.is_floating_point() else t for name, t in state.items()}
    try:
        model.load_state_dict(full)
    except (RuntimeError, KeyError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise WeconveneError(
            f"the checkpoint {path} belongs to another architecture than {model.config.name!r} ({reason})."
        ) from error
