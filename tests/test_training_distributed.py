"""Two gloo processes under torchrun train as one process does: same global batch, same noise, same loss."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from weconvene_core.errors import WeconveneError
from weconvene_core.model.checkpoint import STATE, read_tensors
from weconvene_core.training.config import Stage, TrainConfig
from weconvene_core.training.distributed import ProcessGroup
from weconvene_core.training.log import LOG
from weconvene_core.training.trainer import train_from_config

ENTROPY = Stage("entropy", 4, 2e-3, 1e-3, batch=4, crop=32, warmup=1, transforms=False)
JOINT = Stage("joint", 4, 1e-3, 1e-4, batch=4, crop=64, warmup=1, w_lf=1.2, w_hf=0.9)


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / LOG).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for seed in range(3):
        noise = np.random.default_rng(seed).normal(0, 20, (64, 96, 3)).cumsum(1)
        Image.fromarray((128 + noise).clip(0, 255).astype(np.uint8)).save(images / f"{seed}.png")
    for name in ("one", "two"):
        settings = TrainConfig("tiny", (ENTROPY, JOINT), str(tmp_path / name), str(images), log_every=1)
        (tmp_path / f"{name}.json").write_text(json.dumps(settings.to_dict()))
    train_from_config(tmp_path / "one.json")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*torchrun, "-m", "weconvene_core", "train", str(tmp_path / "two.json")]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, **threads})
    one, two = rows(tmp_path / "one"), rows(tmp_path / "two")
    assert len(one) == len(two) == ENTROPY.steps + JOINT.steps
    for column in ("loss", "bpp_lf", "bpp_hf", "bpp_z", "psnr_db"):
        found, expected = ([float(row[column]) for row in table] for table in (two, one))
        assert found == pytest.approx(expected, rel=1e-3)  # Adam's first steps amplify the order of additions
        if column == "loss":
            assert found[: ENTROPY.steps + 1] == pytest.approx(expected[: ENTROPY.steps + 1], rel=1e-4)
    alone, together = (read_tensors(tmp_path / name / STATE)[0] for name in ("one", "two"))
    assert alone.keys() == together.keys()
    counts = [name for name in alone if name.endswith("/step")]
    assert all(torch.equal(alone[name], together[name]) for name in counts)
    assert {alone[name].item() for name in counts} == {JOINT.steps, ENTROPY.steps + JOINT.steps}  # g_a, g_s; all others
    quantiles = "model/entropy_bottleneck.quantiles"  # trained by the auxiliary loss alone
    torch.testing.assert_close(together[quantiles], alone[quantiles], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 6, 2, 3), (5, 1, 4 * 6)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_every_process_draws_its_part_of_the_whole_noise(shape: tuple[int, ...], layout: torch.memory_format) -> None:
    images = 0 if len(shape) == 4 else 2
    like = torch.zeros(shape)
    like = like.to(memory_format=layout) if len(shape) == 4 else like
    torch.manual_seed(3)
    whole = torch.empty_like(like).uniform_(-0.5, 0.5)
    parts = []
    for rank in range(2):
        torch.manual_seed(3)
        with ProcessGroup(rank, 2).noise():
            parts.append(torch.empty_like(like.chunk(2, images)[rank]).uniform_(-0.5, 0.5))
    assert torch.equal(torch.cat(parts, images), whole)


def test_batch_that_cannot_be_shared_is_refused() -> None:
    assert ProcessGroup(1, 2).local_batch(8) == slice(4, 8)
    with pytest.raises(WeconveneError, match="batch=8 cannot be shared by 3 processes"):
        ProcessGroup(0, 3).local_batch(8)
