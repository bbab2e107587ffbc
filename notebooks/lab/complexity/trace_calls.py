"""Count the files, functions and changes of file of one forward pass and one encoding.

usage: python -m lab.complexity.trace_calls [--list]   (from the folder ``notebooks``)
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import numpy as np
import pandas as pd
import torch

import weconvene_core
from weconvene_core.codec import api
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.image_tensors import from_8_bit

CORE = Path(weconvene_core.__file__).parent


def traced(call: Callable[[], object]) -> tuple[Counter[str], int]:
    """Run ``call``; return how often it entered each "file:function" of the core, and its changes of file."""
    calls, last, changes = Counter(), "", 0

    def enter(frame: FrameType, event: str, argument: object) -> None:
        nonlocal last, changes
        path = Path(frame.f_code.co_filename)
        if event == "call" and CORE in path.parents:
            name = str(path.relative_to(CORE))
            function, comprehension, _ = frame.f_code.co_qualname.partition(".<locals>.<")
            calls[f"{name}:{function}"] += not comprehension  # which is a part of its function
            changes, last = changes + (name != last), name

    sys.setprofile(enter)
    try:
        call()
    finally:
        sys.setprofile(None)
    return calls, changes


@torch.no_grad()
def table(model: str = "lite", side: int = 128, listed: bool = False) -> pd.DataFrame:
    """Trace ``forward`` and ``encode`` of a corner of a photograph, ``side`` pixels wide; ``listed``: print functions.

    Noise would not do: the encoder codes it a second time, without transforms.
    """
    picture = np.asarray(load_rgb(image_set("default").paths[0]))[:side, :side]
    network, x, at = api.load_model(model), from_8_bit(picture), torch.tensor([3.0])
    rows = []
    for name, call in {"forward": lambda: network(x, at), "encode": lambda: api.encode(picture, 3, model)}.items():
        call()  # what is cached is cached
        calls, changes = traced(call)
        rows.append((name, len({key.split(":")[0] for key in calls}), len(calls), calls.total(), changes))
        if listed:
            print(name, *(f"{count:6} {key}" for key, count in sorted(calls.items())), sep="\n")
    return pd.DataFrame(rows, columns=["call", "files", "functions", "calls", "changes of file"])


if __name__ == "__main__":
    print(table(listed="--list" in sys.argv).to_string(index=False))
