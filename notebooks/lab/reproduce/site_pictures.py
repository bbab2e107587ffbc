"""What the site shows beside its pages, made while ``make site`` builds: codecs compared, and steps of the explorer.

Photographs are coded by real codecs and lie in the build alone, never in git.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image

from lab.figures import subbands
from lab.figures.diagram import codec_diagram, codec_shapes
from lab.figures.style import save, shown_name
from lab.paths import PUBLISHED
from lab.rd.metrics import psnr_rgb
from lab.rd.pillow_codecs import JPEG, JPEG_2000, avif
from lab.studies.synthetic_pictures import FAMILIES
from weconvene_core import decode, encode
from weconvene_core.atomic_files import sha256_of
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import test_set
from weconvene_core.model.presets import preset
from weconvene_core.paths import checkpoint

MODEL, CODECS = "lite", (avif(), JPEG_2000, JPEG)
COUNT, QUALITY, SIZE = 6, 1.5, (512, 384)
"""How many pictures are compared, at the bytes of which quality of ours, and how large a part of each is shown."""
EXPLORED = 18
"""Number of the photograph of chapter 01."""
STEPS = {"wavelet": ("haar", "5/3", "9/7"), "levels": (1, 2, 3, 5), "percent": (1.0, 2.0, 5.0, 10.0)}
"""What the explorer of chapter 01 offers on a page, where no kernel computes."""


def facts() -> dict[str, str]:
    """Return what pages say in numbers: verdicts, rates, and the shapes of ``lite`` for an image of 768x512 pixels."""
    verdicts = pd.read_csv(PUBLISHED / "certificate.csv").query("part == 'paper'").verdict.value_counts()
    peers = pd.read_csv(PUBLISHED / "tables" / "peers.csv").set_index("codec").bd_rate_pct_all
    shapes = codec_shapes(preset(MODEL), 512, 768)
    return {
        "claims": f"{verdicts.sum()}",
        "verdicts": ", ".join(f"**{count} {verdict}**" for verdict, count in verdicts.items()),
        **{f"rate_{name.replace(' ', '_')}": f"{rate:+.1f} %" for name, rate in peers.items()},
        **{f"shape_{name}": "×".join(map(str, shape)) for name, shape in shapes.items()},
    }


def pictures() -> Iterator[tuple[str, Image.Image]]:
    """Yield parts of photographs spread over the test set, and drawn pictures where those are too few."""
    photos = test_set().paths
    chosen = photos[:: max(1, len(photos) // COUNT)][:COUNT]
    for path in chosen:
        picture = load_rgb(path)
        width, height = (min(pair) for pair in zip(picture.size, SIZE, strict=True))
        left, top = (picture.width - width) // 2, (picture.height - height) // 3  # faces stand above the middle
        yield path.stem, picture.crop((left, top, left + width, top + height))
    for kind in ("text", "screen", "drawing")[: COUNT - len(chosen)]:
        yield kind, Image.fromarray(FAMILIES[kind](np.random.default_rng(7), SIZE[1]))


def compared(picture: tuple[str, Image.Image], folder: Path) -> dict[str, Any]:
    """Code a picture with every codec at the bytes that ours takes, and store without loss what they decode to."""
    name, image = picture
    data = encode(image, QUALITY, MODEL)
    files = {MODEL: (data, decode(data))}
    for codec in CODECS:
        other = codec.encode_near(image, len(data))
        files[shown_name(codec.name)] = other, codec.decode(other)
    found = {codec: psnr_rgb(image, decoded) for codec, (_, decoded) in files.items()}
    about = {codec: f"{len(data):,} bytes, {found[codec]:.2f} dB" for codec, (data, _) in files.items()}
    for i, decoded in enumerate([image, *(decoded for _, decoded in files.values())]):
        decoded.save(folder / "compare" / f"{name}_{i}.webp", lossless=True, quality=20, method=2)
    lead = found[MODEL] - found[shown_name(CODECS[0].name)]
    return {"name": name, "size": image.size, "codecs": {"original": "as it was", **about}, "lead": lead}


def draw_step(setting: tuple[str, int, float], path: Path, folder: Path) -> None:
    """Draw one position of the explorer."""
    grey = torch.tensor(np.asarray(load_rgb(path).convert("L")), dtype=torch.float32)
    figure = subbands.kept_figure(grey, [subbands.Setting(*setting)], "")
    name = "_".join(f"{part}".replace("/", "-").removesuffix(".0") for part in setting)
    figure.savefig(folder / "explorer" / f"{name}.jpg", dpi=80)


def make(folder: Path) -> None:
    """Make all pictures and the descriptions that ``site.js`` reads, unless they are there from an earlier build."""
    photos, record = test_set().paths, folder / "state.json"
    read = [Path(__file__), Path(subbands.__file__), checkpoint(MODEL), *photos]
    state = json.dumps([*map(sha256_of, read), *(codec.state() for codec in CODECS)])
    if record.is_file() and record.read_text(encoding="utf-8") == state:
        return
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("compare", "explorer"):
        (folder / part).mkdir(parents=True)
    save(codec_diagram(preset("paper")), "codec", folder)
    with ProcessPoolExecutor() as pool:
        steps = pool.map(
            partial(draw_step, path=photos[EXPLORED % len(photos)], folder=folder), product(*STEPS.values())
        )
        rows = sorted(pool.map(partial(compared, folder=folder), pictures()), key=lambda row: row["lead"])
        list(steps)
    middle = len(rows) // 2  # first comes one where our lead is neither the largest nor the smallest
    rows = [rows[middle], *rows[:middle], *rows[middle + 1 :]]
    for name, described in (("compare", rows), ("explorer", STEPS)):
        text = f'<div class="{name}"><script type="application/json">{json.dumps(described)}</script></div>'
        (folder / f"{name}.html").write_text(text, encoding="utf-8")
    record.write_text(state, encoding="utf-8")
