"""From a configuration file to a released checkpoint: what ``weconvene train`` calls."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from weconvene_core.datasets.image_sets import folder_set, training_folder
from weconvene_core.model.checkpoint import release
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.paths import CHECKPOINTS, ROOT, data_folder, run_folder
from weconvene_core.training.config import TrainConfig, load_config
from weconvene_core.training.distributed import join
from weconvene_core.training.images import ImageSource, load_pool, validation_paths
from weconvene_core.training.packs import INDEX, PackedImages, write_packs
from weconvene_core.training.throughput import device_name, step_flops
from weconvene_core.training.trainer import Trainer
from weconvene_core.training.travel import pack_state, unpack_state
from weconvene_core.version import git_version


def train_from_config(
    path: Path | str, minutes: float | None = None, pack: Path | None = None, unpack: Path | None = None
) -> WeConvene:
    """Train as a configuration file says, resuming an interrupted run; release the average where the file says so.

    Parameters
    ----------
    path : the configuration, TOML or JSON.
    minutes : stop cleanly this long after the call; the same call goes on later.
    pack : folder that gets the state at the end, in parts that travel (see ``travel``).
    unpack : folder of such parts to go on from, unless this machine's own state is further.

    Raises
    ------
    WeconveneError
        If the configuration, its images or its start are unusable, or the loss stays not finite.
    """
    started, config = time.monotonic(), load_config(path)
    with join() as team:
        if unpack and team.leads:
            unpack_state(unpack, run_folder(config.output))
        team.any(False)  # nobody looks for the state before it lies there
        trainer = Trainer(config, load_images(config, quiet=not team.leads), team=team)
        model = trainer.run(minutes=None if minutes is None else minutes - (time.monotonic() - started) / 60)
        if team.leads:
            _finish(trainer, pack)
    return model


def _finish(trainer: Trainer, pack: Path | None) -> None:
    """Release what has reached its end, or say how to go on; pack the state when asked."""
    config = trainer.config
    if trainer.step < config.total_steps:
        tqdm.write(f"stopped at step {trainer.step} of {config.total_steps}; the same command goes on from here")
    elif config.release:
        base = config.start_from if config.trains else None
        release(trainer.ema, CHECKPOINTS / f"{config.release}.safetensors", facts(trainer), base)
    if pack:
        pack_state(trainer.state_path.parent, pack)


def load_images(config: TrainConfig, quiet: bool = False) -> ImageSource:
    """Open the images of a configuration, a folder of photographs or of packs, and say what is wrong with some.

    Raises
    ------
    WeconveneError
        If the folder does not exist or holds nothing readable.
    """
    folders = _image_folders(config)
    if (folders[0] / INDEX).is_file():
        return PackedImages(folders[0], config.pack_steps)
    paths = [path for folder in folders for path in folder_set(folder).paths]
    pool = load_pool(paths, validation_paths(ROOT / config.validation, paths) if config.validation else None)
    largest = max(phase.crop for phase in config.phases)
    if quiet:
        return pool
    for name in pool.skipped:
        tqdm.write(f"left out, unreadable: {name}")
    if small := pool.count_smaller_than(largest):
        tqdm.write(f"{small} of {pool.image_count} training images are smaller than the crop: padded by reflection")
    return pool


def _image_folders(config: TrainConfig) -> list[Path]:
    """Return the folders that a configuration names; a relative one lies in ``WECONVENE_DATA``, or else here."""
    if config.images is None:
        return [training_folder()]
    named = [config.images] if isinstance(config.images, str) else list(config.images)
    return [_image_folder(name) for name in named]


def _image_folder(name: str) -> Path:
    root = data_folder()
    return root / name if root is not None and (root / name).is_dir() else Path(name)


def pack_images(path: Path | str, folder: Path) -> None:
    """Write the training images of a configuration as packs that travel (see ``packs``).

    Raises
    ------
    WeconveneError
        If the configuration or its images are unusable, or the folder cannot be written.
    """
    for name in write_packs(folder_set(_image_folders(load_config(path))[0]).paths, folder):
        tqdm.write(f"left out, unreadable: {name}")


def total_flops(config: TrainConfig) -> float:
    """Floating-point operations of a whole training: divided by what a device achieves, its duration in seconds."""
    model = WeConvene(config.architecture)
    return sum(phase.steps * step_flops(model, phase) for phase in config.phases)


def facts(trainer: Trainer) -> dict[str, Any]:
    """What a released checkpoint says of its making."""
    start = sidecar(trainer.config.start_from)
    return {
        "total_steps": trainer.step + _total(start, "steps"),
        "total_seconds": round(trainer.seconds + _total(start, "seconds")),
        "steps": trainer.step, "seconds": round(trainer.seconds), "device": device_name(trainer.device),
        "processes": trainer.team.size, "skipped_batches": trainer.guard.skipped,
        "training_images": trainer.pool.image_count, "training_megapixels": round(trainer.pool.pixels / 1e6, 1),
        "commit": git_version(ROOT), "config": trainer.config.to_dict(), "started_from": start,
    }  # fmt: skip


def sidecar(name: str | None) -> dict[str, Any] | None:
    """Return what is written beside a released checkpoint, None where there is no such file."""
    path = CHECKPOINTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _total(facts: dict[str, Any] | None, key: str) -> float:
    """Sum ``key`` over a checkpoint's facts and those of all that it started from."""
    return facts[key] + _total(facts.get("started_from"), key) if facts else 0
