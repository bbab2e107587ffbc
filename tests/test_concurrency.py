"""Several threads, several processes, and processes that are killed: files are right, whole, or not there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from weconvene_core.codec import api
from weconvene_core.codec.container import unpack
from weconvene_core.errors import WeconveneError
from weconvene_core.model.checkpoint import read_tensors, weights_hash
from weconvene_core.model.released import load_checked
from weconvene_core.paths import CHECKPOINTS, ROOT

SHIPPED = CHECKPOINTS / "lite.safetensors"


def picture(seed: int) -> np.ndarray:
    ramp = np.linspace(0, 255, 60 + seed)[None, :, None] * np.array([1.0, 0.7, 0.3])
    noise = np.random.default_rng(seed).normal(0, 8, (70, 60 + seed, 3))
    return np.clip(ramp + noise, 0, 255).astype(np.uint8)


def there_and_back(seed: int) -> tuple[bytes, bytes]:
    torch.set_num_threads(1)
    data = api.encode(picture(seed), 1 + seed % 6)
    return data, api.decode(data).tobytes()


def test_threads_and_processes_give_what_one_gives() -> None:
    seeds = range(8)
    alone = [there_and_back(seed) for seed in seeds]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(there_and_back, seeds)) == alone
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(there_and_back, seeds)) == alone


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a signal that cannot be caught")
def test_a_killed_encode_leaves_no_half_file(tmp_path: Path) -> None:
    """Killed once while it computes or loads, and once at the first sight of a file under a temporary name."""
    noise = np.random.default_rng(0).integers(0, 256, (320, 640, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "in.png")
    target = tmp_path / "out.wcv"
    command = [sys.executable, "-m", "weconvene_core", "encode", tmp_path / "in.png", target, "--quality", "6"]
    for moment in ("early", "writing"):
        process = subprocess.Popen(list(map(str, command)), cwd=ROOT, stdout=subprocess.DEVNULL)
        if moment == "early":
            time.sleep(0.5)
            assert process.poll() is None
        while moment == "writing" and process.poll() is None and not any(tmp_path.glob(".*.tmp")):
            pass
        process.kill()
        process.wait()
        assert moment == "writing" or not target.exists()
        if target.exists():
            assert unpack(target.read_bytes()).width == 640


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
