"""The figures of the model card, ``data/checkpoints/MODEL_CARD.md``: read from the checkpoint and the tables."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from lab.reproduce.blocks import ANCHORS, WEIGHTS, expected, facts, measured
from lab.studies.compute_scaling import compute_of
from weconvene_core.atomic_files import sha256_of
from weconvene_core.exact.calibrate import DIGEST, STORED
from weconvene_core.model.checkpoint import weights_hash
from weconvene_core.model.released import description_of
from weconvene_core.paths import CHECKPOINTS

CARD = CHECKPOINTS / "MODEL_CARD.md"


def file_block() -> str:
    """What the file is and how it is told from any other."""
    parameters, stored = expected("complexity").params_m.iloc[0], description_of(WEIGHTS).get(STORED, {})
    rows = {
        "file": f"`{WEIGHTS.name}`, {WEIGHTS.stat().st_size / 1e6:.1f} MB, {parameters:.1f} M parameters",
        "SHA-256 of the file": f"`{sha256_of(WEIGHTS)}`",
        "SHA-256 of its tensors": f"`{weights_hash(WEIGHTS).hex()}`",
        "digest of its integer path": f"`{stored[DIGEST]}`" if stored else "none",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def compute_block() -> str:
    """Photographs, steps, pixels and hours of the whole chain of runs."""
    said = facts()
    spent = compute_of(said)
    return (
        f"{said['training_images']} photographs of {said['training_megapixels']} Mpixel together; "
        f"{said['total_steps']:,} optimiser steps on {spent.megapixels:,.0f} Mpixel of crops, "
        f"{said['total_seconds'] / 3600:.1f} hours of wall time on {' and '.join(sorted(devices(said)))}, "
        f"{core_hours(said):.1f} core-hours at most (threads times time; some were shared with other work)."
    )


def core_hours(said: dict[str, Any] | None) -> float:
    """Wall time times threads, over a checkpoint's own run and all that it started from."""
    if not said:
        return 0.0
    threads = re.search(r"(\d+) thread", said.get("device", ""))
    own = said["seconds"] / 3600 * said.get("processes", 1) * (int(threads[1]) if threads else 1)
    return own + core_hours(said.get("started_from"))


def devices(said: dict[str, Any] | None) -> set[str]:
    """Kinds of device that a checkpoint's own run and all that it started from were on, without their threads."""
    return {said.get("device", "unknown").split(",")[0], *devices(said.get("started_from"))} if said else set()


def range_block() -> str:
    """What it reaches on Kodak, from the lowest to the highest quality."""
    points = expected("rd_points").query("dataset == 'kodak'").sort_values("quality")
    rates = expected("bd_rate").query("dataset == 'kodak' and method == 'pchip'")
    low, high = points.iloc[0], points.iloc[-1]
    lines = [
        f"- Kodak, 24 images, mean over real files: {low.bpp:.3f} bits per pixel at {low.psnr_db:.2f} dB "
        f"(quality {low.quality:g}) to {high.bpp:.3f} at {high.psnr_db:.2f} dB (quality {high.quality:g})."
    ]
    table = rates[rates.anchor.isin(ANCHORS)].pivot(index="anchor", columns="metric", values="bd_rate_pct")
    for anchor, label in ANCHORS.items():
        psnr, structure = table.loc[anchor, ["psnr_rgb", "ms_ssim_db"]]
        lines.append(f"- BD-rate there against {label}: {psnr:+.1f} % by PSNR, {structure:+.1f} % by MS-SSIM.")
    return "\n".join(lines)


def limits_block() -> str:
    """Measured limits: by image, by tile, of the exact path, of damaged files."""
    return "\n".join([*_by_image(), _tiles(), _exact(), _damaged()])


def _by_image() -> list[str]:
    table, lines = measured("diagnosis_images"), []
    for anchor, rows in table.groupby("anchor", sort=False):
        worst, best = (rows.loc[index] for index in (rows.gain_db.idxmin(), rows.gain_db.idxmax()))
        lines.append(
            f"- Against {anchor}, at equal bytes, single photographs stand between {worst.gain_db:+.2f} dB "
            f"(quality {worst.quality:g}) and {best.gain_db:+.2f} dB (quality {best.quality:g}): "
            f"{rows.picture.nunique()} of them, kept out of training (`diagnosis_images.csv`)."
        )
    return lines


def _tiles() -> str:
    worst = measured("tiles").query("image == 'worst'").sort_values("rate_pct").iloc[-1]
    return (
        f"- Tiles cost at most {worst.rate_pct:.1f} % more bytes (quality {worst.quality:g}, tiles of {worst.tile:g}; "
        "`tiles.csv`)."
    )


def _exact() -> str:
    table = measured("exactness").set_index("figure").price
    return (
        f"- The exact path, which files take, costs {table['BD-rate, %']:+.2f} % BD-rate and decodes in "
        f"{table['decoding, ratio']:.2f} times the time of floating point (`exactness.csv`)."
    )


def _damaged() -> str:
    row = measured("robustness").set_index("kind").loc["all"]
    return (
        f"- Of {row.files:,.0f} damaged files {row.crashed:.0f} crashed the decoder and {row.hung:.0f} hung it "
        "(`robustness.csv`)."
    )


BLOCKS: dict[str, Callable[[], str]] = {
    "file": file_block, "compute": compute_block, "range": range_block, "limits": limits_block,
}  # fmt: skip
