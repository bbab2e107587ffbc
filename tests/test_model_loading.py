"""Released checkpoints are checked before use."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from weconvene_core.errors import WeconveneError
from weconvene_core.model.checkpoint import load_checked, read_tensors, weights_hash
from weconvene_core.paths import CHECKPOINTS

SHIPPED = CHECKPOINTS / "lite.safetensors"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    shutil.copy(SHIPPED, tmp_path / "lite.safetensors")
    return tmp_path / "lite.safetensors"


def rewrite(path: Path, stated: str | None = None, **changed: torch.Tensor) -> None:
    tensors, description = read_tensors(path)
    description |= {} if stated is None else {"weights": stated}
    save_file({**tensors, **changed}, path, metadata={"description": json.dumps(description)})


def test_a_checkpoint_is_checked_before_use(checkpoint: Path) -> None:
    digest = load_checked(checkpoint)[1]
    assert digest == weights_hash(checkpoint)
    rewrite(checkpoint, digest.hex())
    assert load_checked(checkpoint)[1] == digest
    tensors = load_file(checkpoint)
    kernel = next(name for name in tensors if tensors[name].dtype == torch.float16)
    table = "entropy_bottleneck._quantized_cdf"
    broken = tensors[table].clone()
    broken[0, 1] = 0
    for changed, said in (
        ({kernel: tensors[kernel] * 2}, "altered"),
        ({kernel: tensors[kernel] * torch.nan}, "not finite"),
        ({kernel: tensors[kernel][:1]}, "another architecture"),
        ({table: tensors[table].float()}, "int32"),
        ({table: broken}, "does not rise"),
    ):
        shutil.copy(SHIPPED, checkpoint)
        rewrite(checkpoint, digest.hex() if said == "altered" else None, **changed)
        with pytest.raises(WeconveneError, match=said):
            load_checked(checkpoint)
    checkpoint.write_bytes(os.urandom(500))
    with pytest.raises(WeconveneError, match="damaged"):
        load_checked(checkpoint)
