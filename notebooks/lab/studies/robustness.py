"""Fuzzing the decoder: damaged files end in a clean refusal or in the right picture, within limits of time and memory.

``python -m lab.studies.robustness 100000`` writes ``results/tables/robustness.csv``. Every second file
gets the checksums of an honest writer after it was damaged: checksums stop accidents before any network runs, so that
what a forger could reach behind them is tried as well. Such a file may decode to another picture of the stated size; a
file whose checksums were left alone must not.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import multiprocessing
import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from tqdm import tqdm

from lab.complexity.peak_memory import peak_of_this_process
from lab.studies.mutations import FORGED_BY_NATURE, MUTATIONS, Corpus, reseal
from weconvene_core.codec import api
from weconvene_core.codec.container import CutFileError
from weconvene_core.datasets.image_sets import image_set, load_rgb
from weconvene_core.errors import WeconveneError
from weconvene_core.paths import RESULTS

TABLE = RESULTS / "tables" / "robustness.csv"
LIMIT_S = 20.0
"""A file that takes longer counts as hung."""
LIMIT_MIB = 1024
"""Address space beyond what the loaded program has; more ends in MemoryError, which counts as a crash."""
START_S = 300.0
START_METHOD = "spawn"  # a process that was forked from one with threads may stand still
REFUSED, UNCHANGED, OTHER, GARBAGE, CRASHED, HUNG = "refused", "unchanged", "other", "garbage", "crashed", "hung"
OUTCOMES = (REFUSED, UNCHANGED, OTHER, GARBAGE, CRASHED, HUNG)
BAD = (GARBAGE, CRASHED, HUNG)


@dataclass(frozen=True)
class Case:
    """One damaged file, made anew from these values whenever it is needed."""

    kind: str
    forged: bool
    seed: int

    def file(self, corpus: Corpus) -> bytes:
        """Damage a file of the corpus."""
        data = MUTATIONS[self.kind](np.random.default_rng(self.seed), corpus)
        return reseal(data) if self.forged else data


@dataclass
class Tally:
    """What became of the files of a kind; ``worst_mib`` is growth over the loaded program."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(OUTCOMES, 0))
    worst_s: float = 0.0
    worst_mib: float = 0.0
    bad: list[Case] = field(default_factory=list)


def corpus() -> list[bytes]:
    """Encode small pictures of every sort: three qualities, grey, alpha, a colour profile, tiles, floating point."""
    photo = load_rgb(image_set("default", 1).paths[0])
    small = photo.crop((60, 60, 108, 92))
    alpha = small.convert("LA")
    alpha.putalpha(Image.linear_gradient("L").resize(small.size))
    profiled = small.resize((20, 33))
    profiled.info["icc_profile"] = bytes(range(256))
    files = [api.encode(small, quality) for quality in (1, 3.3, 6)]
    files += [api.encode(picture, 4) for picture in (small.convert("L"), alpha, profiled)]
    return [*files, api.encode(photo.crop((0, 0, 150, 40)), 2, tile=128), api.encode(small, 5, exact=False)]


def judge(case: Case, files: Corpus, pictures: Sequence[bytes]) -> str:
    """Decode one damaged file, or its preview where it is cut, and return its outcome; other errors pass."""
    data = case.file(files)
    try:
        image = api.decode(data)
    except CutFileError:
        with contextlib.suppress(WeconveneError):
            api.preview(data, api.ALL)
        return REFUSED
    except WeconveneError:
        return REFUSED
    if image.tobytes() in pictures:
        return UNCHANGED
    return OTHER if case.forged or case.kind in FORGED_BY_NATURE else GARBAGE


def cases(count: int) -> Iterator[Case]:
    """Yield ``count`` cases, kind by kind, in equal shares."""
    sorts = [(kind, forged) for kind in MUTATIONS for forged in (False, True) if forged or kind not in FORGED_BY_NATURE]
    for i, (kind, forged) in enumerate(sorts):
        share = count * (i + 1) // len(sorts) - count * i // len(sorts)
        yield from (Case(kind, forged, seed) for seed in range(share))


def fuzz(count: int, seed: int = 0) -> dict[tuple[str, bool], Tally]:
    """Try ``count`` damaged files in a process of limited memory, which is started anew whenever one breaks it."""
    tallies: dict[tuple[str, bool], Tally] = {}
    waiting = [Case(case.kind, case.forged, seed + case.seed) for case in cases(count)]
    with tqdm(total=count, unit="file", disable=None) as bar:
        while waiting:
            found = 0
            for case, (outcome, seconds, mib) in zip(waiting, _results(waiting), strict=False):
                found += 1
                tally = tallies.setdefault((case.kind, case.forged), Tally())
                tally.counts[outcome] += 1
                tally.worst_s, tally.worst_mib = max(tally.worst_s, seconds), max(tally.worst_mib, mib)
                tally.bad += [case] if outcome in BAD else []
                bar.update()
            waiting = waiting[found:]
    return tallies


def _results(waiting: Sequence[Case]) -> Iterator[tuple[str, float, float]]:
    """Yield (outcome, seconds, MiB) per case until one breaks the process; that one is the last."""
    context = multiprocessing.get_context(START_METHOD)
    ours, theirs = context.Pipe()
    child = context.Process(target=_child, args=(theirs, list(waiting)), daemon=True)
    child.start()
    theirs.close()
    try:
        if not ours.poll(START_S) or ours.recv() != "ready":
            raise WeconveneError(f"The fuzzing process did not start within {START_S:g} s: is the machine overloaded?")
        for _ in waiting:
            if not ours.poll(LIMIT_S):
                yield HUNG, LIMIT_S, 0.0
                return
            yield ours.recv()
    except EOFError:
        yield CRASHED, 0.0, float(LIMIT_MIB)
    finally:
        child.kill()
        child.join()


def _child(pipe: Connection, waiting: Sequence[Case]) -> None:
    torch.set_num_threads(1)
    files = corpus()
    pictures = [api.decode(data).tobytes() for data in files]
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").is_file() else None
    if pages is not None:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (LIMIT_MIB << 20),) * 2)
    pipe.send("ready")
    for _, group in itertools.groupby(waiting, lambda case: (case.kind, case.forged)):
        before = _fresh_peak()
        for case in group:
            started = time.perf_counter()
            try:
                outcome = judge(case, files, pictures)
            except Exception:  # whatever it is, it is what we look for
                outcome = CRASHED
            pipe.send((outcome, time.perf_counter() - started, peak_of_this_process() - before))


def _fresh_peak() -> float:
    """Forget this process's peak where the system allows it, and return what it is now, in MiB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak_of_this_process()


def table(tallies: dict[tuple[str, bool], Tally]) -> pd.DataFrame:
    """Return one row per kind, and one for all."""
    rows = [
        {
            "kind": kind, "checksums": "forged" if forged or kind in FORGED_BY_NATURE else "as they were",
            "files": sum(tally.counts.values()), **tally.counts,
            "worst_s": tally.worst_s, "worst_mib": tally.worst_mib,
        }
        for (kind, forged), tally in tallies.items()
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    total = {**frame[["files", *OUTCOMES]].sum(), **frame[["worst_s", "worst_mib"]].max()}
    return pd.concat([frame, pd.DataFrame([{"kind": "all", "checksums": "", **total}])], ignore_index=True)


def main() -> int:
    """Fuzz, write the table, and return 1 where a file did what none may do."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=int, nargs="?", default=100_000, help="damaged files to try")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    tallies = fuzz(arguments.files, arguments.seed)
    result = table(tallies)
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    result.to_csv(TABLE, index=False, float_format="%.3f")
    print(result.to_string(index=False, float_format="%.3f"))
    bad = [case for tally in tallies.values() for case in tally.bad]
    print(*bad, sep="\n")
    return int(bool(bad))


if __name__ == "__main__":
    raise SystemExit(main())
