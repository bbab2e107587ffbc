"""README's and the model card's numbers: none of them is typed by hand.

``make readme`` accepts the tables of the last run as the release's own (``results/expected/`` and what
``data/claims.csv`` expects of the shipped weights) and fills the blocks between markers in README.md and MODEL_CARD.md
from them; a test compares. Later runs on other machines leave all alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from lab.applications.study import findings
from lab.rd.curves import METRIC_TITLES
from lab.rd.published_curves import ANCHOR_NAMES
from lab.reproduce.blocks import ANCHORS, EXPECTED, MODEL, WEIGHTS, expected, facts, measured, replaced
from lab.reproduce.claims import accept as accept_claims
from lab.reproduce.model_card import BLOCKS, CARD
from lab.reproduce.run_records import REPOSITORY
from lab.studies.design_choices import ledger_markdown, ledger_summary, read_ledger
from lab.studies.larger_sets import SETS
from lab.studies.latent_refinement import EFFORT, PLAIN, POINTS, REFINED, kept_refined
from weconvene_core.datasets.image_sets import TITLES
from weconvene_core.errors import WeconveneError
from weconvene_core.paths import ROOT

ACCEPTED = ("bd_rate", "rd_points", "complexity")
RESULTS_BLOCK, LEDGER_BLOCK, STUDIES_BLOCK = "results", "ledger", "studies"
README = ROOT / "README.md"


def accept() -> None:
    """Keep the shipped model's rows of the last run's tables as the release's expected ones."""
    EXPECTED.mkdir(parents=True, exist_ok=True)
    for name in ACCEPTED:
        table = measured(name)
        rows = table[table["model" if name == "complexity" else "codec"] == MODEL]
        if name == "rd_points":
            rows = rows[rows.image == "mean"]
        rows.to_csv(EXPECTED / f"{name}.csv", index=False)


def render() -> str:
    """Return the block: what the checkpoint is, its BD-rates with intervals, its rates and PSNR, its cost."""
    return "\n\n".join(filter(None, [_checkpoint(), _bd_rates(), _refined(), _larger(), _points(), _cost()]))


def _checkpoint() -> str:
    said = facts()
    return (
        f"Checkpoint `{MODEL}`: {said['total_steps']:,} steps in {said['total_seconds'] / 60:.0f} minutes on "
        f"{said['device']}, "
        f"{said['training_images']} training photographs ({said['training_megapixels']} Mpixel), one file of "
        f"{WEIGHTS.stat().st_size / 1e6:.1f} MB for all rates."
    )


def _bd_rates() -> str:
    """BD-rates on Kodak, a line for each anchor: by PSNR and by MS-SSIM, with intervals."""
    lines = [
        "| anchor | BD-rate by PSNR | 95 % over images | BD-rate by MS-SSIM | 95 % over images | overlap |",
        "|---|---|---|---|---|---|",
    ]
    table = _headline()
    rows = table[table.dataset == "kodak"].set_index(["anchor", "metric"])
    for anchor, label in ANCHORS.items():
        both = [rows.loc[(anchor, metric)] for metric in METRIC_TITLES]
        cells = [f"{r.bd_rate_pct:+.1f} % | {r.ci_low:+.1f} to {r.ci_high:+.1f} %" for r in both]
        lines.append(f"| {label} | {' | '.join(cells)} | {' and '.join(f'{r.overlap_pct:.0f}' for r in both)} % |")
    return "\n".join(lines)


def _headline() -> pd.DataFrame:
    """The checkpoint's BD-rates by the interpolation that headlines."""
    table = expected("bd_rate")
    return table[table.method == "pchip"]


def _refined() -> str:
    """What an encoder's full effort brings: on photographs kept out of training, and on Kodak if that was measured."""
    table = measured("effort").query(f"effort == {EFFORT}").set_index("metric")
    said = [
        f"{row.bd_rate_pct:+.1f} % ({row.ci_low:+.1f} to {row.ci_high:+.1f}) by {name}"
        for name, row in ((name, table.loc[metric]) for metric, name in METRIC_TITLES.items())
    ]
    first = table.iloc[0]
    sentences = [
        f"All files above are coded at once. With `--effort {EFFORT}` the encoder searches, picture by picture, and "
        f"takes {first.times_as_long:.0f} times as long; on {first['images']:.0f} photographs kept out of training its "
        f"files have a BD-rate of {' and '.join(said)} against those coded at once."
    ]
    if len(kept_refined()):
        rows = measured("refining").query(f"codec == '{REFINED}'").set_index(["anchor", "metric"])
        labels = {PLAIN: f"`{PLAIN}` itself", **ANCHORS}
        known = [anchor for anchor in labels if anchor in rows.index]
        against = [f"{_both(rows.loc[anchor])} against {labels[anchor]}" for anchor in known]
        sentences.append(f"On Kodak, {_searched()}, by PSNR and by MS-SSIM: {'; '.join(against)}.")
    return " ".join(sentences)


def _searched() -> str:
    """How the files on Kodak were searched for: by release 0.2 with passes alone, since then by a level of effort."""
    first = pd.read_csv(POINTS).iloc[0]
    return f"with `--effort {first.effort}`" if "effort" in first else f"with {first.passes} passes alone (release 0.2)"


def _both(rows: pd.DataFrame) -> str:
    return " and ".join(f"{rows.bd_rate_pct[metric]:+.1f} %" for metric in METRIC_TITLES if metric in rows.index)


def _larger() -> str:
    """BD-rates on larger photographs, a sentence for each set, and which of the sets were not at hand."""
    table = _headline()
    sentences = []
    for dataset, own in table[table.dataset != "kodak"].groupby("dataset", sort=False):
        title, said = TITLES.get(str(dataset).split("-")[0], dataset), []
        for metric, name in METRIC_TITLES.items():
            rates = [f"{r.bd_rate_pct:+.1f} % ({r.ci_low:+.1f} to {r.ci_high:+.1f}) against {_shown(r.anchor)}"
                     for r in own[own.metric == metric].itertuples()]  # fmt: skip
            said.append(f"by {name} {', '.join(rates)}")
        sentences.append(f"On {own.images.max():.0f} whole photographs from {title} (points kept): {'; '.join(said)}.")
    missing = [TITLES[name] for name in SETS if not table.dataset.str.startswith(name).any()]
    if missing:
        sentences.append(f"Not at hand where this was measured, so not measured: {', '.join(missing)}.")
    return "\n\n".join(sentences)


def _shown(anchor: str) -> str:
    """A live codec's name, or what a published anchor's stands for."""
    return ANCHOR_NAMES[anchor].shown if anchor in ANCHOR_NAMES else anchor


def _points() -> str:
    table = expected("rd_points")
    rows = table[table.dataset == "kodak"].sort_values("quality")
    lines = ["| quality | bits per pixel (files) | PSNR | MS-SSIM |", "|---|---|---|---|"]
    lines += [f"| {r.quality:g} | {r.bpp:.3f} | {r.psnr_db:.2f} dB | {r.ms_ssim:.4f} |" for r in rows.itertuples()]
    return "\n".join(lines)


def _cost() -> str:
    table = expected("complexity")
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
    table = measured("exactness")
    rows = table[table.figure == "decoding, ratio"].sort_values("threads")
    return float(rows.price.iloc[-1])


def ledger() -> str:
    """Return the second block: how many design choices are the paper's and how many ours, and each of them, folded."""
    table = read_ledger()
    every = f"<details><summary>Every choice</summary>\n\n{ledger_markdown(table)}\n\n</details>"
    return f"{ledger_summary(table)}\n\n{every}"


def documents() -> dict[Path, dict[str, Callable[[], str]]]:
    """Return the files whose numbers are filled in, and by which function each of their blocks is rendered."""
    return {README: {RESULTS_BLOCK: render, STUDIES_BLOCK: findings, LEDGER_BLOCK: ledger}, CARD: BLOCKS}


def rendered(path: Path) -> str:
    """Return a document's text with all of its blocks as the tables have them.

    Raises
    ------
    WeconveneError
        If a table is missing or lacks the checkpoint's rows, or a marker is missing.
    """
    text = path.read_text(encoding="utf-8")
    try:
        for name, block in documents()[path].items():
            text = replaced(text, block(), name)
    except (OSError, KeyError, IndexError) as error:
        raise WeconveneError(f"{path.name} cannot be filled ({error}); run `make reproduce` first.") from error
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Accept the tables and rewrite the blocks of all documents."""
    try:
        accept()
        for change in accept_claims(REPOSITORY):
            print(f"expected from now on: {change}")
        for path in documents():
            path.write_text(rendered(path), encoding="utf-8")
    except (OSError, WeconveneError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
