"""The numbers of README and of the model card (``make readme``): none of them is typed by hand.

Blocks between markers are filled from the tables that the release published; a test compares.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from lab.paths import PUBLISHED, ROOT, TRAININGS
from lab.rd.curves import METRIC_TITLES
from lab.rd.published_curves import ANCHOR_NAMES
from lab.reproduce.certificate import UNTESTED
from lab.studies import tasks
from lab.studies.compute_scaling import compute_of
from lab.studies.design_choices import ledger_markdown, ledger_summary, read_ledger
from lab.studies.larger_sets import SETS
from lab.studies.latent_refinement import EFFORT, PLAIN, POINTS, REFINED, kept_refined
from weconvene_core.atomic_files import sha256_of
from weconvene_core.datasets.image_sets import TITLES
from weconvene_core.errors import WeconveneError
from weconvene_core.exact.calibrate import DIGEST, STORED
from weconvene_core.model.checkpoint import description_of, weights_hash
from weconvene_core.paths import CHECKPOINTS

README, CARD = ROOT / "README.md", TRAININGS / "MODEL_CARD.md"
MODEL = "lite"
WEIGHTS = CHECKPOINTS / f"{MODEL}.safetensors"
OTHER_TASKS = ("denoising", "classification", "segmentation", "video")
# "live" is encoded by every run; "points kept" were, by a command of their own, since they take most of an hour
ANCHORS = {
    "K-A": "VTM-9.1 (published curve, K-A)",
    "K-B": "VTM-9.1 (independent run, K-B)",
    "JPEG 2000": "JPEG 2000 (live, OpenJPEG 9/7, `mct=1`)",
    "WebP": "WebP (live, method 6)",
    "AVIF speed 6": "AVIF as Pillow ships it (live, speed 6, 4:4:4, tuned for PSNR)",
    "AVIF speed 6, tune default": "AVIF as Pillow ships it (live, speed 6, 4:4:4, tuned for the eye, its default)",
    "VVC 4:2:0 (vvenc)": "VVC (points kept, vvenc medium, 4:2:0)",
    "HEVC 4:4:4 (x265)": "HEVC (points kept, x265 veryslow, 4:4:4)",
    "AV1 4:4:4 (libaom)": "AV1 (points kept, libaom speed 4, 4:4:4)",
    "AV1 4:4:4 (libaom, speed 2)": "AV1 (points kept, libaom speed 2, 4:4:4)",
    "JPEG XL": "JPEG XL (points kept, effort 7, made for visible difference)",
    "JPEG": "JPEG (live, optimised, 4:2:0 below quality 90, 4:4:4 above)",
}


def measured(name: str) -> pd.DataFrame:
    """Return a table of the release."""
    return pd.read_csv(PUBLISHED / "tables" / f"{name}.csv")


def own(name: str, column: str = "codec") -> pd.DataFrame:
    """Return the shipped model's rows of a table of the release."""
    table = measured(name)
    return table[table[column] == MODEL]


def _facts() -> dict[str, Any]:
    """What the shipped checkpoint says of its making."""
    return json.loads(WEIGHTS.with_suffix(".json").read_text(encoding="utf-8"))


def _headline() -> pd.DataFrame:
    """The checkpoint's BD-rates by the interpolation that headlines, and each with its interval as text."""
    table = own("bd_rate").query("method == 'pchip'")
    return table.assign(text=[_with_interval(row) for row in table.itertuples()])


def _with_interval(row: Any) -> str:
    interval = _interval(row).removesuffix(" %")
    return f"{row.bd_rate_pct:+.1f} %" + (f" ({interval})" if interval else "")


def _interval(row: Any) -> str:
    """Return a paired interval as text; there is none against a published average."""
    return "" if pd.isna(row.ci_low) else f"{row.ci_low:+.1f} to {row.ci_high:+.1f} %"


def _measured_against(rows: pd.DataFrame | pd.Series) -> dict[str, str]:
    """Return those anchors that rows indexed by anchor and metric hold."""
    return {name: label for name, label in ANCHORS.items() if name in rows.index.get_level_values("anchor")}


def _kodak_points() -> pd.DataFrame:
    """The checkpoint's means on Kodak, a row per quality."""
    return own("rd_points").query("dataset == 'kodak' and image == 'mean'").sort_values("quality")


def results_block() -> str:
    """What the checkpoint is, its BD-rates with intervals, its rates and PSNR, its cost."""
    said = _facts()
    checkpoint = (
        f"Checkpoint `{MODEL}`: {said['total_steps']:,} steps in {said['total_seconds'] / 60:.0f} minutes on "
        f"{said['device']}, {said['training_images']} training photographs ({said['training_megapixels']} Mpixel), one "
        f"file of {WEIGHTS.stat().st_size / 1e6:.1f} MB for all rates."
    )
    points = ["| quality | bits per pixel (files) | PSNR | MS-SSIM |", "|---|---|---|---|"]
    points += [f"| {r.quality:g} | {r.bpp:.3f} | {r.psnr_db:.2f} dB | {r.ms_ssim:.4f} |"
               for r in _kodak_points().itertuples()]  # fmt: skip
    parts = [checkpoint, _bd_rates(), _refined(), _larger(), "\n".join(points), _cost()]
    return "\n\n".join(filter(None, parts))


def _bd_rates() -> str:
    """BD-rates on Kodak, a line for each anchor: by PSNR and by MS-SSIM, with intervals."""
    rows = _headline().query("dataset == 'kodak'").set_index(["anchor", "metric"])
    lines = [
        "| anchor | BD-rate by PSNR | 95 % over images | BD-rate by MS-SSIM | 95 % over images | overlap |",
        "|---|---|---|---|---|---|",
    ]
    for anchor, label in _measured_against(rows).items():
        both = [rows.loc[(anchor, metric)] for metric in METRIC_TITLES]
        cells = [f"{r.bd_rate_pct:+.1f} % | {_interval(r) or 'not paired'}" for r in both]
        lines.append(f"| {label} | {' | '.join(cells)} | {' and '.join(f'{r.overlap_pct:.0f}' for r in both)} % |")
    return "\n".join(lines)


def _refined() -> str:
    """What an encoder's full effort brings: on photographs kept out of training, and on Kodak if that was measured."""
    table = measured("effort").query(f"effort == {EFFORT}").set_index("metric")
    said = [f"{_with_interval(table.loc[metric])} by {name}" for metric, name in METRIC_TITLES.items()]
    first = table.iloc[0]
    text = (
        f"All files above are coded at once. With `--effort {EFFORT}` the encoder searches, picture by picture, and "
        f"takes {first.times_as_long:.0f} times as long; on {first['images']:.0f} photographs kept out of training its "
        f"files have a BD-rate of {' and '.join(said)} against those coded at once."
    )
    if not len(kept_refined()):
        return text
    kodak, point = measured("refining").query(f"codec == '{REFINED}'"), measured(POINTS).iloc[0]
    rates = kodak.set_index(["anchor", "metric"]).bd_rate_pct
    labels = {PLAIN: f"`{PLAIN}` itself", **ANCHORS}
    against = [
        " and ".join(f"{rates[anchor, metric]:+.1f} %" for metric in METRIC_TITLES if (anchor, metric) in rates.index)
        + f" against {label}"
        for anchor, label in labels.items()
        if anchor in set(kodak.anchor)
    ]
    # release 0.2 searched by passes alone, later ones by a level of effort
    how = f"with `--effort {point.effort}`" if "effort" in point else f"with {point.passes} passes alone (release 0.2)"
    return f"{text} On Kodak, {how}, by PSNR and by MS-SSIM: {'; '.join(against)}."


def _larger() -> str:
    """BD-rates on larger photographs, a sentence for each set, and which of the sets were not available."""
    table = _headline()
    shown = table.anchor.map(lambda anchor: ANCHOR_NAMES[anchor].shown if anchor in ANCHOR_NAMES else anchor)
    table, sentences = table.assign(text=table.text + " against " + shown), []
    for dataset, rows in table[table.dataset != "kodak"].groupby("dataset", sort=False):
        said = [f"by {name} {', '.join(rows.text[rows.metric == metric])}" for metric, name in METRIC_TITLES.items()]
        title = TITLES.get(str(dataset).split("-")[0], dataset)
        sentences.append(f"On {rows.images.max():.0f} photographs from {title} (points kept): {'; '.join(said)}.")
    missing = [TITLES[name] for name in SETS if not table.dataset.str.startswith(name).any()]
    if missing:
        sentences.append(f"Not at hand where this was measured, so not measured: {', '.join(missing)}.")
    return "\n\n".join(sentences)


def _cost() -> str:
    table = own("complexity", "model")
    row = table[table.image.str.contains("768")].iloc[0]
    bars = measured("complexity_bars").set_index("bound")
    file_s, ratio = (
        bars.measured["lite: decode a file, 768x512 (s)"],
        bars.loc["lite, a file by the exact path: the same"],
    )
    return (
        f"Cost of `{MODEL}` on a 768x512 image: {row.params_m:.1f} M parameters, "
        f"{row.kmac_px_encode:.0f} kMAC/px to encode and {row.kmac_px_decode:.0f} to decode, "
        f"{row.encode_ms / 1000:.2f} s and {row.decode_ms / 1000:.2f} s on {row.threads} threads "
        f"({row.device}), of which {row.entropy_coding_ms:.0f} ms entropy coding; "
        f"files take the exact path, which decodes in {file_s:.2f} s, {ratio.measured:.2f} times the time of "
        f"bmshj2018-hyperprior (our own bound of {ratio['at most']:.2f}: {ratio.verdict.lower()})."
    )


def ledger_block() -> str:
    """How many design choices are the paper's and how many ours, and each of them."""
    table = read_ledger()
    return f"{ledger_summary(table)}\n\n{ledger_markdown(table)}"


def file_block() -> str:
    """What the file is and how it is told from any other."""
    parameters, stored = own("complexity", "model").params_m.iloc[0], description_of(WEIGHTS).get(STORED, {})
    rows = {
        "file": f"`{WEIGHTS.name}`, {WEIGHTS.stat().st_size / 1e6:.1f} MB, {parameters:.1f} M parameters",
        "SHA-256 of the file": f"`{sha256_of(WEIGHTS)}`",
        "SHA-256 of its tensors": f"`{weights_hash(WEIGHTS).hex()}`",
        "digest of its integer path": f"`{stored[DIGEST]}`" if stored else "none",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def compute_block() -> str:
    """Photographs, steps, pixels and hours of the whole chain of runs."""
    said = _facts()
    devices = {run.get("device", "unknown").split(",")[0] for run in _runs(said)}
    return (
        f"{said['training_images']} photographs of {said['training_megapixels']} Mpixel together; "
        f"{said['total_steps']:,} optimiser steps on {compute_of(said).megapixels:,.0f} Mpixel of crops, "
        f"{said['total_seconds'] / 3600:.1f} hours of wall time on {' and '.join(sorted(devices))}, "
        f"{core_hours(said):.1f} core-hours at most (threads times time; some were shared with other work)."
    )


def _runs(said: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """A checkpoint's own run, and all that it started from."""
    while said:
        yield said
        said = said.get("started_from")


def core_hours(said: dict[str, Any]) -> float:
    """Wall time times threads, over a checkpoint's own run and all that it started from."""
    threads = ((run, re.search(r"(\d+) thread", run.get("device", ""))) for run in _runs(said))
    return sum(run["seconds"] / 3600 * run.get("processes", 1) * (int(n[1]) if n else 1) for run, n in threads)


def range_block() -> str:
    """What it reaches on Kodak, from the lowest to the highest quality."""
    points = _kodak_points()
    low, high = points.iloc[0], points.iloc[-1]
    lines = [
        f"- Kodak, 24 images, mean over real files: {low.bpp:.3f} bits per pixel at {low.psnr_db:.2f} dB "
        f"(quality {low.quality:g}) to {high.bpp:.3f} at {high.psnr_db:.2f} dB (quality {high.quality:g})."
    ]
    rates = _headline().query("dataset == 'kodak'").set_index(["anchor", "metric"]).bd_rate_pct
    for anchor, label in _measured_against(rates).items():
        psnr, structure = (rates[anchor, metric] for metric in ("psnr_rgb", "ms_ssim_db"))
        lines.append(f"- BD-rate there against {label}: {psnr:+.1f} % by PSNR, {structure:+.1f} % by MS-SSIM.")
    return "\n".join(lines)


def limits_block() -> str:
    """Measured limits: by image, by tile, of the exact path, of damaged files."""
    lines, images = [], measured("diagnosis_images")
    for anchor, rows in images.groupby("anchor", sort=False):
        worst, best = (rows.loc[index] for index in (rows.gain_db.idxmin(), rows.gain_db.idxmax()))
        lines.append(
            f"- Against {anchor}, at equal bytes, single photographs stand between {worst.gain_db:+.2f} dB "
            f"(quality {worst.quality:g}) and {best.gain_db:+.2f} dB (quality {best.quality:g}): "
            f"{rows.picture.nunique()} of them, kept out of training (`diagnosis_images.csv`)."
        )
    tiled = measured("tiles").query("image == 'worst'").sort_values("rate_pct").iloc[-1]
    exact = measured("exactness").set_index("figure").price
    damaged = measured("robustness").set_index("kind").loc["all"]
    lines += [
        f"- Tiles cost at most {tiled.rate_pct:.1f} % more bytes (quality {tiled.quality:g}, tiles of {tiled.tile:g}; "
        "`tiles.csv`).",
        f"- The exact path, which files take, costs {exact['BD-rate, %']:+.2f} % BD-rate and decodes in "
        f"{exact['decoding, ratio']:.2f} times the time of floating point (`exactness.csv`).",
        f"- Of {damaged.files:,.0f} damaged files {damaged.crashed:.0f} crashed the decoder and {damaged.hung:.0f} "
        "hung it (`robustness.csv`, with the weights of 42,509 steps).",
    ]
    return "\n".join(lines)


def peers_block() -> str:
    """Our codec beside classical and learned ones: BD-rates on Kodak in both ranges, size, cost."""
    lines = [
        "| Kodak, against VTM-9.1 | BD-rate, % | within 30-38 dB | by MS-SSIM | M parameters | kMAC/px | s |",
        "|---|---|---|---|---|---|---|",
    ]
    styles = {
        **dict.fromkeys(("bd_rate_pct_all", "bd_rate_pct_paper_range", "bd_rate_ms_ssim_pct"), "+.1f"),
        **{"params_m": ".1f", "kmac_px_decode": ".0f", "decode_s": ".2f"},
    }
    for row in measured("peers").to_dict("records"):
        cells = ["" if pd.isna(row[name]) else f"{row[name]:{style}}" for name, style in styles.items()]
        lines.append(f"| {row['codec']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def claims_block() -> str:
    """The paper's claims as the release's certificate has them; other tasks share a row, and so do untested claims."""
    table = pd.read_csv(PUBLISHED / "certificate.csv", keep_default_na=False).query("part == 'paper'").set_index("id")
    others = table.loc[list(OTHER_TASKS)]
    table = table.drop(others.index)
    untested = table[table.verdict == UNTESTED]
    lines = ["| claim | found here | verdict at our budget |", "|---|---|---|"]
    for row in table.drop(untested.index).itertuples():
        lines.append(f"| {row.claim} | {row.figure} | **{row.verdict}** |")
    verdicts = ", ".join(f"{name} {verdict}" for name, verdict in others.verdict.items())
    lines.append(f"| The layer helps beyond image compression. | [details](docs/results.md) | **{verdicts}** |")
    lines.append(f"| {' '.join(untested.claim)} | | **{UNTESTED}** |")
    return "\n".join(lines)


def tasks_block() -> str:
    """What the study of denoising and classification found."""
    if not (PUBLISHED / "tables" / "tasks.csv").is_file():
        return "The study has not been run yet: `make table NAME=tasks` (hours)."
    found = measured("tasks")
    return "\n\n".join(f"**{task.capitalize()}.**\n\n{tasks.conclusions(found, task)}" for task in tasks.SEEDS)


RESULTS, LEDGER = ROOT / "docs" / "results.md", ROOT / "docs" / "design-choices.md"
BLOCKS: dict[Path, dict[str, Callable[[], str]]] = {  # of every document, and what renders them
    README: {"peers": peers_block, "claims": claims_block},
    RESULTS: {"results": results_block, "studies": tasks_block},
    LEDGER: {"ledger": ledger_block},
    CARD: {"file": file_block, "compute": compute_block, "range": range_block, "limits": limits_block},
}


def replaced(text: str, block: str, name: str) -> str:
    """Return a document's text with the block between the markers of ``name`` replaced.

    Raises
    ------
    WeconveneError
        If a marker is missing.
    """
    begin, end = (f"<!-- {name}:{edge} -->" for edge in ("begin", "end"))
    head, found_begin, rest = text.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not (found_begin and found_end):
        raise WeconveneError(f"the document lacks the markers {begin} and {end}; restore them.")
    return f"{head}{begin}\n{block}\n{end}{tail}"


def rendered(path: Path) -> str:
    """Return a document's text with all of its blocks as the tables have them.

    Raises
    ------
    WeconveneError
        If a table is missing or lacks the checkpoint's rows, or a marker is missing.
    """
    text = path.read_text(encoding="utf-8")
    try:
        for name, block in BLOCKS[path].items():
            text = replaced(text, block(), name)
    except (OSError, KeyError, IndexError) as error:
        raise WeconveneError(f"{path.name} cannot be filled ({error}); restore the release's tables.") from error
    return text


def main() -> int:
    """Rewrite the blocks of all documents."""
    try:
        for path in BLOCKS:
            path.write_text(rendered(path), encoding="utf-8")
    except (OSError, WeconveneError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
