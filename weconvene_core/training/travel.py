"""A training state that travels: parts of at most 16 MB, half the size of the exact state file.

The exact file (float32) serves resuming on the spot, bit for bit. The travelling form keeps the weights exact, the
average as a half-precision difference from them, and the optimiser's second moments (SOAP: and bases) in bfloat16. The
first moments stay behind, since ten steps rebuild them. A run that goes on from it is as good, but not bit for bit the
run that never travelled.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor
from tqdm import tqdm

from weconvene_core.errors import WeconveneError
from weconvene_core.model.checkpoint import STATE, read_tensors, write_tensors
from weconvene_core.training.log import LOG, VALIDATION_LOG

PART_BYTES = 16_000_000
INDEX = "state.json"
FIRST_MOMENT, SECOND_MOMENT = "/exp_avg", "/exp_avg_sq"
BASES = ("/gram_", "/basis_")  # of SOAP: its second moments mean nothing without
SMALL = 4096  # tensors with fewer elements stay exact: biases, bounds, quantiles, step counts


def pack_state(folder: Path, target: Path, part_bytes: int = PART_BYTES) -> None:
    """Write the state and the tables of the run in ``folder`` into ``target``, in parts of at most ``part_bytes``.

    Raises
    ------
    WeconveneError
        If there is no state, or the parts cannot be written.
    """
    tensors, position = read_tensors(folder / STATE)
    data = save(_compact(tensors))
    parts = [data[start : start + part_bytes] for start in range(0, len(data), part_bytes)]
    index = {"parts": len(parts), "sha256": hashlib.sha256(data).hexdigest(), "position": position}
    try:
        target.mkdir(parents=True, exist_ok=True)
        (target / INDEX).unlink(missing_ok=True)  # comes back last: parts without it are unfinished
        for old in target.glob("state.part*"):
            old.unlink()
        for number, part in enumerate(parts):
            _part(target, number).write_bytes(part)
        for table in (LOG, VALIDATION_LOG):
            if (folder / table).is_file():
                shutil.copyfile(folder / table, target / table)
        (target / INDEX).write_text(json.dumps(index) + "\n", encoding="utf-8")
    except OSError as error:
        raise WeconveneError(
            f"the state cannot be packed into {target} ({error}); check space and permission."
        ) from error
    tqdm.write(f"packed step {position['step']} into {target}: {len(parts)} parts, {len(data) / 1e6:.1f} MB")


def unpack_state(source: Path, folder: Path) -> None:
    """Put a packed state and its tables into the run's ``folder``, unless the state there is as far or further.

    Raises
    ------
    WeconveneError
        If a part is missing or damaged.
    """
    try:
        index = json.loads((source / INDEX).read_text(encoding="utf-8"))
        data = b"".join(_part(source, number).read_bytes() for number in range(index["parts"]))
        if hashlib.sha256(data).hexdigest() != index["sha256"]:
            raise ValueError("a checksum does not match")
        tensors = _expanded(load(data))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise WeconveneError(
            f"the packed state in {source} is incomplete or damaged ({error}); send it again."
        ) from error
    if (folder / STATE).is_file() and read_tensors(folder / STATE)[1]["step"] >= index["position"]["step"]:
        tqdm.write(f"{folder} is as far as the packed state or further, and stays as it is")
        return
    write_tensors(folder / STATE, tensors, index["position"])
    for table in (LOG, VALIDATION_LOG):
        if (source / table).is_file():
            shutil.copyfile(source / table, folder / table)


def _part(folder: Path, number: int) -> Path:
    return folder / f"state.part{number:02d}"


def _compact(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    compact = {}
    for name, tensor in tensors.items():
        if name.startswith("ema/"):
            difference = tensor - tensors[name.replace("ema/", "model/", 1)]
            if difference.count_nonzero():  # what the average shares with the model need not travel twice
                compact[name] = difference.half() if tensor.numel() >= SMALL else difference
        elif name.startswith("weights/") and tensor.numel() >= SMALL:
            if name.endswith(SECOND_MOMENT) or any(part in name for part in BASES):
                compact[name] = tensor.bfloat16()
        else:
            compact[name] = tensor
    return compact


def _expanded(compact: dict[str, Tensor]) -> dict[str, Tensor]:
    tensors = {name: t.float() if t.is_floating_point() else t for name, t in compact.items()}
    for name, tensor in compact.items():
        if name.startswith("model/"):
            average = name.replace("model/", "ema/", 1)
            tensors[average] = tensor + tensors[average] if average in tensors else tensor.clone()
        elif name.endswith(SECOND_MOMENT):
            first = name.removesuffix(SECOND_MOMENT) + FIRST_MOMENT
            tensors.setdefault(first, torch.zeros_like(tensors[name]))
    return tensors
