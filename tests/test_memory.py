"""The switch that keeps freed memory: freed blocks stay with the process, in a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from weconvene_core.paths import ROOT

BLOCKS, SIDE = 16, 8 * 2**20
LOOK = f"""
import ctypes, psutil, sys
from weconvene_core.training.memory import keep_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
if sys.argv[1] == "keep":
    assert keep_freed_memory()
blocks = [libc.malloc({SIDE}) for _ in range({BLOCKS})]
for block in blocks:
    ctypes.memset(block, 1, {SIDE})
full = psutil.Process().memory_info().rss
for block in blocks:
    libc.free(block)
print((full - psutil.Process().memory_info().rss) / ({BLOCKS} * {SIDE}))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone has the switch")
@pytest.mark.parametrize(("how", "low", "high"), [("give back", 0.9, 1.1), ("keep", -0.1, 0.1)])
def test_freed_blocks_stay_only_when_asked_for(how: str, low: float, high: float) -> None:
    found = subprocess.run([sys.executable, "-c", LOOK, how], cwd=ROOT, capture_output=True, text=True, check=True)
    assert low <= float(found.stdout) <= high
