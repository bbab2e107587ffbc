"""The public DWT libraries behind one call, so that a benchmark can run them side by side.

Each library transforms with the border rule that gives our coefficients (mirrored samples for 9/7, none needed for
Haar on even sizes). A library that is not installed, or whose import fails, is left out with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module

import torch
from torch import Tensor

from weconvene_core.wavelets import dwt2d

Transform = Callable[[Tensor], list[Tensor]]
OURS, OURS_COMPILED = "weconvene_core", "weconvene_core compiled"
PYWT_NAMES = {"haar": "haar", "9/7": "bior4.4"}
MODES = {"haar": "zero", "9/7": "reflect"}


def transform(library: str, wavelet: str, levels: int, device: torch.device) -> Transform:
    """Return a function from a batch of images (B, C, H, W) to its bands.

    Raises
    ------
    ImportError
        If the library is not installed or does not import here.
    """
    name, mode = PYWT_NAMES[wavelet], MODES[wavelet]
    match library:
        case "weconvene_core":
            return lambda x: list(dwt2d(x, wavelet, levels).bands().values())
        case "weconvene_core compiled":
            ours = transform(OURS, wavelet, levels, device)
            return torch.compile(ours, fullgraph=True, dynamic=False)
        case "PyWavelets":
            pywt = import_module("pywt")
            return lambda x: _flat(pywt.wavedec2(x.numpy(), name, mode, levels, axes=(-2, -1)))
        case "ptwt":
            ptwt = import_module("ptwt")
            return lambda x: _flat(ptwt.wavedec2(x, name, mode=mode, level=levels))
        case "torchwavelets":
            torchwavelets = import_module("torchwavelets")
            module = torchwavelets.DWT2D(J=levels, wave=name, mode=mode).to(device)
        case "pytorch_wavelets":
            pytorch_wavelets = import_module("pytorch_wavelets")
            module = pytorch_wavelets.DWTForward(J=levels, wave=name, mode=mode).to(device)
        case _:
            raise ImportError(f"no library called {library!r}")
    return lambda x: _flat(module(x))


RIVALS = ("PyWavelets", "ptwt", "torchwavelets", "pytorch_wavelets")
CPU_ONLY = ("PyWavelets",)
NO_GRADIENT = ("PyWavelets",)


def _flat(result: object) -> list[Tensor]:
    """Collect the arrays of a nested result."""
    if isinstance(result, Iterable) and isinstance(result, Sequence):
        return [band for part in result for band in _flat(part)]
    return [result]  # type: ignore[list-item]
