"""What the command line does: one function per command, from parsed arguments to an exit code.

torch is imported only by the commands that compute, and only after the cheap checks, so that wrong input is answered
at once.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

from weconvene_core.errors import WeconveneError
from weconvene_core.paths import CHECKPOINTS


def encode(arguments: argparse.Namespace) -> int:
    """Compress a picture; everything that may be wrong is found out before torch is loaded."""
    from weconvene_core.codec.images import load, write_bytes_atomically

    _check_output(arguments.input, arguments.output, arguments.force)
    picture = load(arguments.input)
    _check_model(arguments.model)
    from weconvene_core.codec import api

    start = time.perf_counter()
    data = api.encode(picture, arguments.quality, model=arguments.model)
    seconds = time.perf_counter() - start
    write_bytes_atomically(arguments.output, data)
    bpp = 8 * len(data) / (picture.width * picture.height)
    print(f"{arguments.output}: {len(data)} bytes, {bpp:.4f} bits per pixel, {seconds:.2f} s")
    return 0


def decode(arguments: argparse.Namespace) -> int:
    """Turn a compressed file into a picture."""
    from weconvene_core.codec.container import unpack
    from weconvene_core.codec.files import check_extension, save

    _check_output(arguments.input, arguments.output, arguments.force)
    check_extension(arguments.output)
    data = arguments.input.read_bytes()
    _check_model(unpack(data).model)
    from weconvene_core.codec import api

    start = time.perf_counter()
    image = api.decode(data)
    seconds = time.perf_counter() - start
    save(image, arguments.output)
    print(f"{arguments.output}: {image.width} x {image.height}, {image.mode}, {seconds:.2f} s")
    return 0


def info(arguments: argparse.Namespace) -> int:
    """Print what a compressed file says of itself."""
    from weconvene_core.codec.container import unpack

    data = arguments.file.read_bytes()
    container = unpack(data)
    facts = {
        "file": str(arguments.file),
        "bytes": len(data),
        "bpp": round(8 * len(data) / (container.width * container.height), 4),
        "width": container.width,
        "height": container.height,
        "mode": container.mode,
        "model": container.model,
        "weights": container.weights_hash.hex(),
        "quality": container.quality,
        "stream_bytes": [len(stream) for stream in container.streams],
    }
    print(json.dumps(facts) if arguments.json else "\n".join(f"{name:14}{value}" for name, value in facts.items()))
    return 0


def train(arguments: argparse.Namespace) -> int:
    """Train as a configuration says, resuming where an earlier run of it stopped."""
    if not arguments.config.is_file():
        raise WeconveneError(f"There is no training configuration {arguments.config}: give a JSON or TOML file.")
    from weconvene_core.training.loop import train_from_config

    train_from_config(arguments.config)
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    """Print the means over the set, and the BD-rates against VTM where the set has a published anchor (Kodak)."""
    _check_model(arguments.model)
    from weconvene_core.evaluation import rate_distortion as rd
    from weconvene_core.evaluation.datasets import image_set
    from weconvene_core.evaluation.learned import FileCodec

    images = image_set(arguments.set)
    qualities = sorted(set(arguments.qualities))
    points = rd.measure(FileCodec(arguments.model), arguments.model, images, qualities)
    print(f"{arguments.model} on {images.label}, means over the images:")
    print(points[points.image == rd.MEAN][["quality", *rd.MEASURED]].to_string(index=False, float_format="%.4f"))
    if images.name == "kodak" and len(qualities) >= 4:
        table = rd.bd_table(points, ["K-A"])
        shown = table[["anchor", "method", "bd_rate_pct", "ci_low", "ci_high"]]
        print(shown.to_string(index=False, float_format="%.2f"))
    return 0


def certify(arguments: argparse.Namespace) -> int:
    """Judge every claim; 1 when one was measured and missed."""
    from weconvene_core.reproduce import certificate

    return certificate.certify()


def fetch(arguments: argparse.Namespace) -> int:
    """Download an image set and print the folder that it lies in."""
    from weconvene_core.evaluation import registry

    print(registry.fetch(arguments.name))
    return 0


def _check_output(source: Path, output: Path, force: bool) -> None:
    """Find out before the work, rather than after it, that its result could not be written."""
    if output.is_dir():
        raise WeconveneError(f"{output} is a folder: give the name of a file.")
    if output.exists() and not force:
        raise WeconveneError(f"{output} exists already: choose another name, or replace it with --force.")
    if output.exists() and source.exists() and output.samefile(source):
        raise WeconveneError(f"{output} is the input itself: choose another name.")
    if not output.parent.is_dir():
        raise WeconveneError(f"There is no folder {output.parent}: make it first, or choose another.")
    if not os.access(output.parent, os.W_OK):
        raise WeconveneError(f"The folder {output.parent} may not be written to: choose another.")


def _check_model(name: str) -> None:
    known = sorted(path.stem for path in CHECKPOINTS.glob("*.safetensors"))
    if name not in known:
        raise WeconveneError(f"There is no trained model '{name}': known here are {', '.join(known) or 'none'}.")
