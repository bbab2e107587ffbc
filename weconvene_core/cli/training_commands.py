"""What ``train``, ``calibrate`` and ``data`` do: one function per command, from parsed arguments to an exit code.

torch is imported only by the commands that compute, and only after the cheap checks, so that wrong input is answered
at once.
"""

from __future__ import annotations

import argparse

from weconvene_core.cli.codec_commands import check_model
from weconvene_core.errors import WeconveneError
from weconvene_core.paths import CHECKPOINTS


def train(arguments: argparse.Namespace) -> int:
    """Train as a configuration says, resuming where an earlier run of it stopped."""
    if not arguments.config.is_file():
        raise WeconveneError(f"There is no training configuration {arguments.config}: give a JSON or TOML file.")
    from weconvene_core.training.trainer import train_from_config

    train_from_config(arguments.config, arguments.minutes)
    return 0


def calibrate(arguments: argparse.Namespace) -> int:
    """Calibrate a released model's integer path in its file: its files then decode to the same bits anywhere."""
    check_model(arguments.name)
    from weconvene_core.datasets.image_sets import folder_set, training_folder
    from weconvene_core.exact.calibrate import calibrate_checkpoint
    from weconvene_core.training.images import VALIDATION_EVERY, decode

    paths = folder_set(arguments.images or training_folder()).paths
    every = VALIDATION_EVERY if arguments.images is None and len(paths) >= VALIDATION_EVERY else 1
    path = CHECKPOINTS / f"{arguments.name}.safetensors"
    before, images = path.stat().st_size, [*decode(paths[::every]).values()]
    digest = calibrate_checkpoint(path, images)
    print(f"{path}: calibrated on {len(images)} images, {path.stat().st_size} bytes ({before} before), {digest.hex()}")
    return 0


def fetch(arguments: argparse.Namespace) -> int:
    """Download an image set and print the folder that it lies in."""
    from weconvene_core.datasets import registry

    print(registry.fetch(arguments.name))
    return 0
