"""Keeping freed memory: a training step wants the same gigabytes again that the step before gave back.

The system clears every page that it hands out, and glibc gives large blocks back as soon as they are free, so every
step pays for clearing them anew (``data/checkpoints/RUNS.md`` has what that cost).
"""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of glibc's malloc.h
LARGEST_BLOCK = 32 * 2**20  # the most that glibc takes for M_MMAP_THRESHOLD, in bytes
KEPT = 2**31 - 1
GROWTH = 256 * 2**20


def keep_freed_memory() -> bool:
    """Have this process reuse freed blocks of up to 32 MiB instead of asking the system for fresh ones.

    Returns whether it could be done: glibc alone has the switch, and elsewhere nothing changes.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    set_option = ctypes.CDLL(None).mallopt
    options = ((M_MMAP_THRESHOLD, LARGEST_BLOCK), (M_TRIM_THRESHOLD, KEPT), (M_TOP_PAD, GROWTH))
    return all(set_option(option, value) == 1 for option, value in options)
