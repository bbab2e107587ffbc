"""Training that is killed, interrupted, out of disk or out of range, with real processes, signals and limits."""

from __future__ import annotations

import csv
import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from weconvene_core import paths
from weconvene_core.errors import WeconveneError
from weconvene_core.model.checkpoint import STATE, read_tensors, write_tensors
from weconvene_core.training.config import Stage, TrainConfig
from weconvene_core.training.images import ImagePool
from weconvene_core.training.log import LOG
from weconvene_core.training.safeguards import BACK_AFTER, CALM_STEPS, GIVE_UP_AFTER, NonFiniteGuard
from weconvene_core.training.trainer import Trainer, _own_checkpoint, train_from_config

ENTROPY = Stage("entropy", 15, 2e-3, 1e-3, batch=2, crop=32, warmup=2, transforms=False)
JOINT = Stage("joint", 25, 1e-3, 1e-4, batch=2, crop=32, warmup=2, w_hf=0.9)


def photograph(seed: int) -> np.ndarray:
    y, x = np.mgrid[:48, :64] / 16
    rng = np.random.default_rng(seed)
    waves = np.stack([np.sin(seed + 2 * x + y), np.cos(x - y), np.sin(x * y)], axis=2)
    return (127 + 80 * waves + rng.normal(0, 8, waves.shape)).clip(0, 255).astype(np.uint8)


@pytest.fixture
def pool() -> ImagePool:
    return ImagePool(tuple(photograph(seed) for seed in range(3)), ())


def config(folder: Path, *stages: Stage, **others: object) -> TrainConfig:
    return TrainConfig("tiny", stages or (ENTROPY, JOINT), output=str(folder), log_every=1, **others)


def state(folder: Path) -> dict[str, torch.Tensor]:
    return read_tensors(folder / STATE)[0]


def step_of(folder: Path) -> int:
    return read_tensors(folder / STATE)[1]["step"]


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def logged(folder: Path, column: str) -> list[str]:
    with (folder / LOG).open(newline="") as file:
        return [row[column] for row in csv.DictReader(file)]


def wait_for_step(folder: Path, step: int, process: subprocess.Popen[bytes]) -> None:
    while not (folder / LOG).is_file() or len((folder / LOG).read_text().splitlines()) <= step:
        assert process.poll() is None, "the training ended by itself"
        time.sleep(0.02)


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The same number of threads here and in child processes: sums in another order differ in their last bit."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_forty_steps_equal_twenty_a_kill_and_the_rest(tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for seed in range(3):
        Image.fromarray(photograph(seed)).save(images / f"{seed}.png")
    for name in ("straight", "killed"):
        settings = config(tmp_path / name, images=str(images), save_seconds=0.0)
        (tmp_path / f"{name}.json").write_text(json.dumps(settings.to_dict()))
    train_from_config(tmp_path / "straight.json")
    killed = subprocess.Popen(
        [sys.executable, "-m", "weconvene_core", "train", str(tmp_path / "killed.json")],
        stderr=subprocess.DEVNULL,
    )
    wait_for_step(tmp_path / "killed", 20, killed)
    killed.kill()
    killed.wait()
    assert 19 <= step_of(tmp_path / "killed") < 40
    train_from_config(tmp_path / "killed.json")
    assert_same(state(tmp_path / "straight"), state(tmp_path / "killed"))
    assert logged(tmp_path / "killed", "step") == [str(step) for step in range(1, 41)]
    assert logged(tmp_path / "killed", "loss") == logged(tmp_path / "straight", "loss")


def test_a_release_never_replaces_the_model_of_another_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found out before the training, not after it."""
    monkeypatch.setattr(paths, "CHECKPOINTS", tmp_path)
    monkeypatch.setattr(paths, "CHECKOUT", True)
    shipped, ours = tmp_path / "lite.safetensors", str(tmp_path / "ours")
    write_tensors(shipped, {}, {"config": {"output": "theirs"}})
    before = shipped.read_bytes()
    Image.fromarray(photograph(0)).save(tmp_path / "a.png")
    settings = {"release": "lite", "images": str(tmp_path)}
    (tmp_path / "run.json").write_text(json.dumps(config(Path(ours), **settings).to_dict()))
    with pytest.raises(WeconveneError, match="another run"):
        train_from_config(tmp_path / "run.json")
    assert shipped.read_bytes() == before
    assert not Path(ours).exists()
    assert _own_checkpoint(config(Path("theirs"), **settings)) == shipped  # trained once more
    assert _own_checkpoint(config(Path(ours), **settings, start_from="lite")) == shipped  # trained on
    assert _own_checkpoint(config(Path(ours), release="mine")) == tmp_path / "mine.safetensors"


@pytest.mark.slow
def test_a_finished_run_that_is_started_again_leaves_its_model_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Releasing it again would undo its calibration."""
    monkeypatch.setattr(paths, "CHECKPOINTS", tmp_path)
    monkeypatch.setattr(paths, "CHECKOUT", True)
    (tmp_path / "photos").mkdir()
    for number in (0, 1):
        Image.fromarray(photograph(number)).save(tmp_path / f"photos/{number}.png")
    settings = {"release": "mine", "images": str(tmp_path / "photos")}
    (tmp_path / "run.json").write_text(json.dumps(config(tmp_path / "run", **settings).to_dict()))
    train_from_config(tmp_path / "run.json")
    path = tmp_path / "mine.safetensors"
    assert f"released: {path}; next: weconvene calibrate mine" in "".join(capsys.readouterr())
    before = path.stat().st_mtime_ns
    train_from_config(tmp_path / "run.json")
    assert path.stat().st_mtime_ns == before
    assert "already finished" in "".join(capsys.readouterr())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_save_the_step_they_fall_into_and_then_act(
    number: signal.Signals, tmp_path: Path, pool: ImagePool
) -> None:
    acted = []
    before = signal.signal(number, lambda number, frame: acted.append(step_of(tmp_path / "a")))

    def press(trainer: Trainer) -> None:
        if trainer.step == 3:
            signal.raise_signal(number)
            assert not acted

    try:
        Trainer(config(tmp_path / "a", ENTROPY), pool).run(watch=press)
    finally:
        signal.signal(number, before)
    assert acted == [3]


def test_time_limit_stops_cleanly_and_the_next_run_goes_on(tmp_path: Path, pool: ImagePool) -> None:
    first = Trainer(config(tmp_path / "a", ENTROPY), pool)
    first.run(minutes=0)
    assert (first.step, step_of(tmp_path / "a")) == (0, 0)
    Trainer(config(tmp_path / "a", ENTROPY), pool).run()
    assert step_of(tmp_path / "a") == ENTROPY.steps


def test_runs_lie_where_a_fresh_checkout_does_not_erase_them(
    tmp_path: Path, pool: ImagePool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WECONVENE_RUNS", str(tmp_path / "kept"))
    Trainer(replace(config(tmp_path, ENTROPY), output="runs/a"), pool).run(minutes=0)
    assert step_of(tmp_path / "kept" / "runs" / "a") == 0


def test_full_disk_leaves_the_last_checkpoint_loadable(tmp_path: Path, pool: ImagePool) -> None:
    """A limit on the size of files stands in for a small disk: both end in an error of the system's write call."""
    trainer = Trainer(config(tmp_path / "a", ENTROPY, save_seconds=0.0), pool)
    trainer.run(minutes=0)
    good = state(tmp_path / "a")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
    try:
        with pytest.raises(WeconveneError, match="cannot be written"):
            Trainer(config(tmp_path / "a", ENTROPY, save_seconds=0.0), pool).run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert_same(good, state(tmp_path / "a"))
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [STATE]


def test_overflow_goes_back_to_the_last_saved_state(tmp_path: Path, pool: ImagePool) -> None:
    """One step at an absurd rate makes weights whose images and likelihoods overflow."""
    calm = replace(JOINT, steps=4, warmup=0)
    spike = replace(JOINT, name="spike", steps=1, learning_rate=1e30, final_rate=1e30, warmup=0)
    trainer = Trainer(config(tmp_path / "a", calm, spike, calm, save_seconds=0.0), pool)
    averaged = trainer.run()
    assert trainer.guard.skipped == BACK_AFTER
    assert logged(tmp_path / "a", "skipped")[3:] == ["0", "0", "1", "2", "3", "3"]
    losses = [float(loss) for loss in logged(tmp_path / "a", "loss")]
    assert np.isfinite(losses).tolist() == [True] * 5 + [False] * 3 + [True]
    assert losses[8] < 2 * losses[3]
    assert float(logged(tmp_path / "a", "learning_rate")[8]) == pytest.approx(calm.rate_at(3) / 2**BACK_AFTER)
    assert all(tensor.isfinite().all() for tensor in averaged.state_dict().values())


def test_rate_that_always_overflows_gives_up_with_a_good_state_on_disk(tmp_path: Path, pool: ImagePool) -> None:
    wild = replace(JOINT, learning_rate=1e12, final_rate=1e12, warmup=0)
    with pytest.raises(WeconveneError, match=rf"not finite {GIVE_UP_AFTER} times.*stage 'joint'"):
        Trainer(config(tmp_path / "a", wild), pool).run()
    assert all(tensor.isfinite().all() for tensor in state(tmp_path / "a").values())


def test_a_constant_stretch_gets_its_decay_while_it_goes_on(tmp_path: Path, pool: ImagePool) -> None:
    constant = Stage("constant", 4, 1e-3, 1e-3, batch=2, crop=32, warmup=0)
    Trainer(config(tmp_path / "a", constant), pool).run()
    decay = replace(constant, name="decay", steps=2, final_rate=1e-5)
    ended = Trainer(config(tmp_path / "a", replace(constant, steps=6), decay), pool)
    ended.run()
    assert [float(row) for row in logged(tmp_path / "a", "step")] == list(range(1, 9))
    at_once = Trainer(config(tmp_path / "b", replace(constant, steps=6), decay), pool)
    at_once.run()
    assert_same(state(tmp_path / "a"), state(tmp_path / "b"))
    for other in (replace(constant, steps=3), replace(constant, steps=6, crop=64), replace(decay, steps=8)):
        with pytest.raises(WeconveneError, match="state of another configuration"):
            Trainer(config(tmp_path / "a", other, decay), pool).run()


def test_guard_forgets_after_a_calm() -> None:
    guard = NonFiniteGuard()
    assert not guard.failed(10, "p")
    guard.passed(11)
    assert guard.rate_factor() == 0.5
    guard.passed(10 + CALM_STEPS)
    assert guard.rate_factor() == 1.0
    assert guard.skipped == 1


def test_state_of_another_architecture_is_refused(tmp_path: Path, pool: ImagePool) -> None:
    Trainer(config(tmp_path / "a", ENTROPY), pool).run(minutes=0)
    with pytest.raises(WeconveneError, match="another configuration"):
        Trainer(config(tmp_path / "a", ENTROPY, model={"wide": 40}), pool).run()
    tensors, position = read_tensors(tmp_path / "a" / STATE)
    position["config"]["model"] = {"wide": 40}
    write_tensors(tmp_path / "a" / STATE, tensors, position)
    with pytest.raises(WeconveneError, match="another architecture"):
        Trainer(config(tmp_path / "a", ENTROPY, model={"wide": 40}), pool).run()
