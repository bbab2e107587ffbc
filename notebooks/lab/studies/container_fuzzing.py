"""Coverage-guided fuzzing of the parser with atheris (optional): what it accepts is exactly what ``pack`` writes.

``python -m lab.studies.container_fuzzing -max_total_time=600`` writes ``results/tables/parser_fuzz.csv``; the
arguments are libFuzzer's.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from inspect import isfunction
from pathlib import Path

import pandas as pd

from lab.studies.mutations import reseal
from weconvene_core.codec import container, tile_grid
from weconvene_core.codec.container import MODES, Container, pack, unpack_prefix
from weconvene_core.errors import CorruptFileError, WeconveneError
from weconvene_core.paths import NOTEBOOKS, RESULTS

TABLE = RESULTS / "tables" / "parser_fuzz.csv"
INSIDE = "inside"
LIMITS = ("-rss_limit_mb=1024", "-timeout=60", "-print_final_stats=1")
FOUND = ("crash", "timeout", "oom")  # how libFuzzer names what it keeps of a failure
LAST_STATE = re.compile(r"#\d+\s+DONE\s+cov: (\d+) ft: (\d+) corp: (\d+)/")
EXECUTED = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
SECONDS = re.compile(r"Done \d+ runs in (\d+) second")


def one_input(data: bytes) -> None:
    """Parse the data as they are, and with checksums that are right."""
    for candidate in {data, reseal(data)}:
        try:
            prefix = unpack_prefix(candidate)
        except CorruptFileError:
            continue
        assert prefix.complete == (prefix.size == len(candidate))
        assert not prefix.complete or pack(prefix.container) == candidate


def seeds() -> list[bytes]:
    """Return small whole files of every mode, with and without a profile and tiles."""
    headers = [
        Container(bytes(8), 300, 200, mode, 3.0, icc=icc, tile=tile, exact=icc)
        for mode in MODES for icc in (False, True) for tile in (0, 128)
    ]  # fmt: skip
    return [pack(Container(**{**vars(h), "streams": tuple(map(str.encode, h.kinds))})) for h in headers]


def run(arguments: list[str]) -> None:
    """Fuzz in this process, which libFuzzer ends."""
    import atheris

    for owner in (container, container.Container, tile_grid):
        for member in vars(owner).values():
            if isfunction(member):
                atheris.instrument_func(member)
    atheris.Setup([sys.argv[0], *LIMITS, *arguments], one_input)
    atheris.Fuzz()


def outcome(log: str, code: int, failures: int) -> pd.DataFrame:
    """Return what libFuzzer reported as a table of one row.

    Parameters
    ----------
    log : its words.
    code : the exit code of its process; 0 says that nothing was found.
    failures : inputs that it kept.

    Raises
    ------
    WeconveneError
        If it broke off before it ran anything.
    """
    state, executed, seconds = LAST_STATE.search(log), EXECUTED.search(log), SECONDS.search(log)
    if executed is None or (state is None and not code):
        reason = (log.strip().splitlines() or ["it said nothing"])[-1]
        raise WeconveneError(f"The fuzzer did not run: {reason.rstrip('.')}.")
    edges, features, kept = (int(count) for count in state.groups()) if state else (None, None, None)
    return pd.DataFrame([{
        "executions": int(executed[1]), "edges": edges, "features": features, "corpus": kept,
        "seconds": int(seconds[1]) if seconds else None, "crashes": failures, "exit_code": code,
    }])  # fmt: skip


def fuzz(arguments: list[str]) -> pd.DataFrame:
    """Give the seeds to a process of its own, and return its :func:`outcome`.

    Raises
    ------
    WeconveneError
        If atheris is not installed, or as :func:`outcome`.
    """
    if find_spec("atheris") is None:
        raise WeconveneError("Coverage-guided fuzzing needs atheris: run pip install 'weconvene-core[fuzz]' first.")
    with tempfile.TemporaryDirectory() as folder:
        corpus, kept = Path(folder, "corpus"), Path(folder, "kept")
        corpus.mkdir()
        kept.mkdir()
        for i, data in enumerate(seeds()):
            (corpus / str(i)).write_bytes(data)
        arguments = [f"-artifact_prefix={kept}/", *arguments, str(corpus)]
        command = [sys.executable, "-m", "lab.studies.container_fuzzing", INSIDE, *arguments]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, errors="replace", check=False, cwd=NOTEBOOKS)
        failures = [path for path in kept.iterdir() if path.name.startswith(FOUND)]
        for path in failures:
            print(path.name, path.read_bytes().hex())
        return outcome(done.stderr, done.returncode, len(failures))


def main() -> int:
    """Fuzz, write the table, and return the fuzzer's exit code: 0 when nothing was found."""
    if sys.argv[1:2] == [INSIDE]:
        run(sys.argv[2:])
    try:
        found = fuzz(sys.argv[1:])
    except WeconveneError as error:
        print(error, file=sys.stderr)
        return 1
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    found.to_csv(TABLE, index=False)
    print(found.to_string(index=False))
    return int(found.exit_code[0])


if __name__ == "__main__":
    raise SystemExit(main())
