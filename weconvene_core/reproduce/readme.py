"""The README's results block: no number in README is typed by hand.

``make readme`` accepts the tables of the last run as the release's own (``results/expected/``) and renders the block
between the two markers from them; a test compares. Later runs on other machines leave both alone.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import pandas as pd

from weconvene_core.errors import WeconveneError
from weconvene_core.evaluation.fidelity import ledger_markdown, ledger_summary, read_ledger
from weconvene_core.paths import CHECKPOINTS, RESULTS, ROOT

EXPECTED = RESULTS / "expected"
TABLES = ("bd_rate", "rd_points", "complexity")
RESULTS_BLOCK, LEDGER_BLOCK = "results", "ledger"
README = ROOT / "README.md"
MODEL = "lite"
ANCHORS = {
    "K-A": "VTM-9.1 (published curve, K-A)",
    "K-B": "VTM-9.1 (independent run, K-B)",
    "JPEG 2000": "JPEG 2000 (live, OpenJPEG 9/7, `mct=1`)",
    "WebP": "WebP (live, method 6)",
    "AVIF speed 6": "AVIF (live, speed 6, 4:4:4, tuned for PSNR)",
    "JPEG 4:4:4": "JPEG (live, 4:4:4, optimised)",
}


def accept() -> None:
    """Keep the shipped model's rows of the last run's tables as the release's expected ones."""
    EXPECTED.mkdir(parents=True, exist_ok=True)
    for name in TABLES:
        table = pd.read_csv(RESULTS / "tables" / f"{name}.csv")
        rows = table[table["model" if name == "complexity" else "codec"] == MODEL]
        if name == "rd_points":
            rows = rows[rows.image == "mean"]
        rows.to_csv(EXPECTED / f"{name}.csv", index=False)


def _expected(name: str) -> pd.DataFrame:
    return pd.read_csv(EXPECTED / f"{name}.csv")


def render() -> str:
    """Return the block: what the checkpoint is, its BD-rates with intervals, its rates and PSNR, its cost.

    Raises
    ------
    WeconveneError
        If a table is missing or lacks the checkpoint's rows.
    """
    try:
        return "\n\n".join([_checkpoint(), _bd_rates(), _points(), _cost()])
    except (OSError, KeyError, IndexError) as error:
        raise WeconveneError(f"the results block cannot be rendered ({error}); run `make reproduce` first.") from error


def _checkpoint() -> str:
    facts = json.loads((CHECKPOINTS / f"{MODEL}.json").read_text(encoding="utf-8"))
    megabytes = (CHECKPOINTS / f"{MODEL}.safetensors").stat().st_size / 1e6
    return (
        f"Checkpoint `{MODEL}`: {facts['total_steps']:,} steps in {facts['total_seconds'] / 60:.0f} minutes on "
        f"{facts['device']}, "
        f"{facts['training_images']} training photographs ({facts['training_megapixels']} Mpixel), one file of "
        f"{megabytes:.1f} MB for all rates."
    )


def _bd_rates() -> str:
    table = _expected("bd_rate")
    rows = table[(table.metric == "psnr_rgb") & (table.method == "pchip") & (table.dataset == "kodak")]
    lines = ["| anchor | BD-rate (PSNR, PCHIP) | 95 % interval over images | overlap |", "|---|---|---|---|"]
    for anchor, label in ANCHORS.items():
        for row in rows[rows.anchor == anchor].itertuples():
            interval = f"{row.ci_low:+.1f} to {row.ci_high:+.1f} %"
            lines.append(f"| {label} | {row.bd_rate_pct:+.1f} % | {interval} | {row.overlap_pct:.0f} % |")
    return "\n".join(lines)


def _points() -> str:
    table = _expected("rd_points")
    rows = table[table.dataset == "kodak"].sort_values("quality")
    lines = ["| quality | bits per pixel (files) | PSNR | MS-SSIM |", "|---|---|---|---|"]
    lines += [f"| {r.quality:g} | {r.bpp:.3f} | {r.psnr_db:.2f} dB | {r.ms_ssim:.4f} |" for r in rows.itertuples()]
    return "\n".join(lines)


def _cost() -> str:
    table = _expected("complexity")
    row = table[table.image.str.contains("768")].iloc[0]
    return (
        f"Cost of `{MODEL}` on a 768x512 image: {row.params_m:.1f} M parameters, "
        f"{row.kmac_px_encode:.0f} kMAC/px to encode and {row.kmac_px_decode:.0f} to decode, "
        f"{row.encode_ms / 1000:.2f} s and {row.decode_ms / 1000:.2f} s on {row.threads} threads "
        f"({row.device}), of which {row.entropy_coding_ms:.0f} ms entropy coding; "
        f"files take the exact path, which decodes in {_exact_ratio():.2f} times that."
    )


def _exact_ratio() -> float:
    """Decoding time of the exact path against floating point, from the row with the most threads."""
    table = pd.read_csv(RESULTS / "tables" / "exactness.csv")  # a benchmark of its own, which no notebook writes
    rows = table[table.figure == "decoding, ratio"].sort_values("threads")
    return float(rows.price.iloc[-1])


def ledger() -> str:
    """Return the second block: how many design choices are the paper's and how many ours, and each of them, folded."""
    table = read_ledger()
    every = f"<details><summary>Every choice</summary>\n\n{ledger_markdown(table)}\n\n</details>"
    return f"{ledger_summary(table)}\n\n{every}"


def replaced(text: str, block: str, name: str = RESULTS_BLOCK) -> str:
    """Return the README text with the block between the markers of ``name`` replaced.

    Raises
    ------
    WeconveneError
        If a marker is missing.
    """
    begin, end = (f"<!-- {name}:{edge} -->" for edge in ("begin", "end"))
    head, found_begin, rest = text.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not (found_begin and found_end):
        raise WeconveneError(f"README.md lacks the markers {begin} and {end}; restore them.")
    return f"{head}{begin}\n{block}\n{end}{tail}"


def rendered(text: str) -> str:
    """Return the README text with both blocks as the tables have them."""
    return replaced(replaced(text, render()), ledger(), LEDGER_BLOCK)


def main(argv: Sequence[str] | None = None) -> int:
    """Accept the tables and rewrite the blocks in README.md."""
    try:
        accept()
        README.write_text(rendered(README.read_text(encoding="utf-8")), encoding="utf-8")
    except (OSError, WeconveneError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
