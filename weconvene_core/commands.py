"""What the laboratory commands do: one function per command, from parsed arguments to an exit code.

torch is imported only by the commands that compute, and only after the cheap checks, so that wrong input is answered
at once.
"""

from __future__ import annotations

import argparse

from weconvene_core.errors import WeconveneError
from weconvene_core.file_commands import check_model
from weconvene_core.paths import CHECKPOINTS


def train(arguments: argparse.Namespace) -> int:
    """Train as a configuration says, resuming where an earlier run of it stopped; or pack its images."""
    if not arguments.config.is_file():
        raise WeconveneError(f"There is no training configuration {arguments.config}: give a JSON or TOML file.")
    from weconvene_core.training.run import pack_images, train_from_config

    if arguments.pack_images:
        pack_images(arguments.config, arguments.pack_images)
    else:
        train_from_config(arguments.config, arguments.minutes, arguments.pack, arguments.unpack)
    return 0


def seal(arguments: argparse.Namespace) -> int:
    """Seal a released model in its file: from then on its files decode to the same bits on every machine."""
    check_model(arguments.name)
    from weconvene_core.codec.sealing import seal_checkpoint
    from weconvene_core.datasets.image_sets import folder_set, training_folder
    from weconvene_core.training.data import VALIDATION_EVERY, decode

    paths = folder_set(arguments.images or training_folder()).paths
    every = VALIDATION_EVERY if arguments.images is None and len(paths) >= VALIDATION_EVERY else 1
    path = CHECKPOINTS / f"{arguments.name}.safetensors"
    before, images = path.stat().st_size, [image for image in decode(paths[::every])[0] if image is not None]
    digest = seal_checkpoint(path, images)
    print(f"{path}: sealed on {len(images)} images, {path.stat().st_size} bytes ({before} before), {digest.hex()}")
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    """Print the means over the set, and the BD-rates against VTM where the set has a published anchor."""
    check_model(arguments.model)
    from weconvene_core.datasets.image_sets import image_set
    from weconvene_core.evaluation import rate_distortion as rd
    from weconvene_core.evaluation.anchors import anchors_of
    from weconvene_core.evaluation.learned import FileCodec

    images = image_set(arguments.set)
    qualities = sorted(set(arguments.qualities))
    points = rd.measure(FileCodec(arguments.model), arguments.model, images, qualities)
    print(f"{arguments.model} on {images.label}, means over the images:")
    print(points[points.image == rd.MEAN][["quality", *rd.MEASURED]].to_string(index=False, float_format="%.4f"))
    primary = anchors_of(images.name)[:1]
    if primary and len(qualities) >= 4:
        table = rd.bd_table(points, primary)
        shown = table[["anchor", "method", "bd_rate_pct", "ci_low", "ci_high"]]
        print(shown.to_string(index=False, float_format="%.2f"))
    return 0


def certify(arguments: argparse.Namespace) -> int:
    """Judge every claim; 1 when one was measured and missed."""
    from weconvene_core.reproduce import certificate

    return certificate.certify()


def fetch(arguments: argparse.Namespace) -> int:
    """Download an image set and print the folder that it lies in."""
    from weconvene_core.datasets import registry

    print(registry.fetch(arguments.name))
    return 0
