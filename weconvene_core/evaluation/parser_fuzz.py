"""Coverage-guided fuzzing of the parser with atheris (optional): what it accepts is exactly what ``pack`` writes.

``python -m weconvene_core.evaluation.parser_fuzz -max_total_time=600``; the arguments are libFuzzer's.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from inspect import isfunction
from pathlib import Path

import atheris

from weconvene_core.codec import container, grid
from weconvene_core.codec.container import MODES, Container, pack, unpack_prefix
from weconvene_core.errors import CorruptFileError
from weconvene_core.evaluation.mutations import reseal

INSIDE = "inside"
LIMITS = ("-rss_limit_mb=1024", "-timeout=60", "-print_final_stats=1")


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
    for owner in (container, container.Container, container._Reader, grid):
        for member in vars(owner).values():
            if isfunction(member):
                atheris.instrument_func(member)
    atheris.Setup([sys.argv[0], *LIMITS, *arguments], one_input)
    atheris.Fuzz()


def main() -> int:
    """Give the seeds to a process of its own, and return its exit code: 0 when nothing was found."""
    if sys.argv[1:2] == [INSIDE]:
        run(sys.argv[2:])
    with tempfile.TemporaryDirectory() as folder:
        for i, data in enumerate(seeds()):
            (Path(folder) / str(i)).write_bytes(data)
        command = [sys.executable, "-m", "weconvene_core.evaluation.parser_fuzz", INSIDE, *sys.argv[1:], folder]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
