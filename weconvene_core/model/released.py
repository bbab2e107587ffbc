"""Released models as the codec needs them: found by name, read once, and checked before use."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from weconvene_core.errors import WeconveneError
from weconvene_core.model.checkpoint import DESCRIPTION, model_of, read_tensors, tensors_hash
from weconvene_core.model.weconvene import WeConvene

STATED = "weights"  # where a checkpoint's description states the SHA-256 of its tensors, in hexadecimal


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


def installed(folder: Path) -> list[str]:
    """Return the names of the checkpoints in a folder."""
    return sorted(path.stem for path in folder.glob("*.safetensors"))


def description_of(path: Path) -> dict[str, Any]:
    """Return what a checkpoint says of itself, without reading its tensors; nothing where that cannot be read."""
    try:
        with safe_open(path, framework="np") as file:
            found = json.loads((file.metadata() or {})[DESCRIPTION])
    except (KeyError, ValueError, SafetensorError, OSError):
        return {}
    return found if isinstance(found, dict) else {}


def load_checked(path: Path) -> tuple[WeConvene, bytes]:
    """Load a released model, and return it with the SHA-256 of its weights.

    Raises
    ------
    WeconveneError
        If the file is missing or damaged, holds a tensor of the wrong name, shape or type, a number that is none, or
        impossible probability tables, or if its weights are not those that it states.
    """
    tensors, description = read_tensors(path)
    model, digest = model_of(tensors, description, path), tensors_hash(tensors)
    if description.get(STATED) not in (None, digest.hex()):
        raise WeconveneError(f"The checkpoint {path} was altered: its weights do not have the hash that it states.")
    for tensor in model.state_dict().values():
        if not torch.isfinite(tensor).all():
            raise WeconveneError(f"The checkpoint {path} holds numbers that are not finite: fetch or train it again.")
    for part in (model.entropy_bottleneck, model.conditional):
        _ = part.tables  # which checks them
    return model, digest
