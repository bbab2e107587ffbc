"""Count what one forward pass and one encoding walk through: files, functions, and changes of file.

usage: python -m lab.complexity.trace_calls [--list]   (from the folder ``notebooks``)
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pandas as pd
import torch

import weconvene_core
from weconvene_core.codec import api
from weconvene_core.datasets.image_sets import image_set, load_rgb
from weconvene_core.image_tensors import from_8_bit

CORE = Path(weconvene_core.__file__).parent
Trace = Counter[tuple[str, str]]
"""(file, function) -> calls."""


def traced(call: Callable[[], object]) -> tuple[Trace, int]:
    """Run ``call``; return how often it entered each function of the core, and how often it went to another file."""
    calls, last, changes = Trace(), "", 0

    def enter(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal last, changes
        path = Path(frame.f_code.co_filename)
        if event != "call" or CORE not in path.parents:
            return
        name = str(path.relative_to(CORE))
        function, comprehension, _ = frame.f_code.co_qualname.partition(".<locals>.<")
        calls[name, function] += not comprehension  # which is a part of its function, as from Python 3.12 on
        changes, last = changes + (name != last), name

    sys.setprofile(enter)
    try:
        call()
    finally:
        sys.setprofile(None)
    return calls, changes


@torch.no_grad()
def table(model: str = "lite", side: int = 128) -> tuple[pd.DataFrame, dict[str, Trace]]:
    """Trace ``forward`` and ``encode`` of ``side`` x ``side`` pixels of a photograph, both for the second time."""
    picture = np.asarray(load_rgb(image_set("default").paths[0]))[:side, :side]
    network, x, at = api.load_model(model), from_8_bit(picture), torch.tensor([3.0])
    tasks = {"forward": lambda: network(x, at), "encode": lambda: api.encode(picture, 3, model)}
    rows, traces = [], {}
    for name, call in tasks.items():
        call()  # what is cached is cached
        traces[name], changes = traced(call)
        files = {file for file, _ in traces[name]}
        rows.append((name, len(files), len(traces[name]), traces[name].total(), changes))
    return pd.DataFrame(rows, columns=["call", "files", "functions", "calls", "changes of file"]), traces


if __name__ == "__main__":
    found, traces = table()
    print(found.to_string(index=False))
    for name in traces if "--list" in sys.argv else ():
        print(f"\n{name}")
        for (file, function), count in sorted(traces[name].items()):
            print(f"{count:6} {file}:{function}")
