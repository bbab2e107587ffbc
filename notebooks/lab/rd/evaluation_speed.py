"""How long an evaluation takes on this machine: a checkpoint measured from nothing, and live codecs from the cache.

``python -m lab.rd.evaluation_speed`` writes ``results/tables/evaluation_speed.csv``; run it while
nothing else does. The first row takes minutes, so it is taken once; the second is the median of five.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pandas as pd

from lab.rd.measure_set import measure
from lab.rd.our_codec import QUALITIES, FileCodec
from lab.rd.pillow_codecs import measure_rivals
from weconvene_core.datasets.image_sets import ImageSet, image_set
from weconvene_core.paths import RESULTS

TABLE = RESULTS / "tables" / "evaluation_speed.csv"
FROM_NOTHING_S, FROM_CACHE_S = 240.0, 10.0
"""What the two may take at most, in seconds."""


def speeds(images: ImageSet, qualities: tuple[float, ...] = QUALITIES, repeats: int = 5) -> pd.DataFrame:
    """Measure both on ``images``; the live codecs are measured before where the cache does not hold them yet.

    Returns:
        A table with ``what, images, qualities, processes, seconds, bar_s``.

    Raises:
        WeconveneError: as :func:`lab.rd.measure_set.measure`.
    """
    processes = os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as nowhere:  # neither files nor measurements of an earlier run
        codec = FileCodec(folder=Path(nowhere) / "files")
        fresh = _seconds(
            lambda: measure(codec, codec.model, images, qualities, codec.state(), Path(nowhere), processes)
        )
    measure_rivals(images)
    kept = median(_seconds(lambda: measure_rivals(images)) for _ in range(repeats))
    rows = [
        ("a checkpoint, from nothing", len(images), len(qualities), processes, fresh, FROM_NOTHING_S),
        ("live codecs, from the cache", len(images), None, processes, kept, FROM_CACHE_S),
    ]
    return pd.DataFrame(rows, columns=["what", "images", "qualities", "processes", "seconds", "bar_s"])


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    """Measure on the test set and write the table."""
    table = speeds(image_set("kodak"))
    table.to_csv(TABLE, index=False, float_format="%.2f", lineterminator="\n")
    print(table.to_string(index=False))


if __name__ == "__main__":
    main()
