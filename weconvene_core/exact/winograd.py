"""3x3 convolutions of integers with a quarter of the products: Winograd's minimal filtering (Lavin and Gray 2016).

F(4x4, 3x3) makes a tile of 16 outputs from 36 products instead of 144: ``Y = A^T [(G g G^T) * (B^T d B)] A``. It is
exact if the bits that the matrices add still fit (see :func:`largest_sums`). The thirds in G are multiplied away: the
result comes out nine times too large, and is divided without remainder at the end.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SIDE = 4  # outputs of a tile along an axis
WINDOW = SIDE + 2  # the inputs that they depend on
TILE_BITS = 6  # what G, applied along both axes, adds below the point
TIMES = 9.0
STRIP = 96  # tiles at once, so that they stay in the cache

_G = torch.tensor([  # three times Lavin and Gray's
    (0.75, 0, 0), (-0.5, -0.5, -0.5), (-0.5, 0.5, -0.5), (0.125, 0.25, 0.5), (0.125, -0.25, 0.5), (0, 0, 3),
], dtype=torch.float64)  # fmt: skip
_B = torch.tensor([  # B^T
    (4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0), (0, 4, 0, -5, 0, 1),
], dtype=torch.float64)  # fmt: skip
_A = torch.tensor([  # A^T
    (1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1),
], dtype=torch.float64)  # fmt: skip
_IN_ALL = WINDOW + 1  # the product, of row 1 and column 1, that every output contains once


def tiles_of(kernel: Tensor) -> Tensor:
    """Transform a kernel (out, in, 3, 3) to (36, out, in), which has ``TILE_BITS`` more below the point."""
    return torch.einsum("ak,bl,oikl->aboi", _G, _G, kernel).flatten(0, 1).contiguous()


def largest_sums(kernel: Tensor, bounds: Tensor) -> Tensor:
    """Bound every sum of :func:`convolve` without bias, (out,), from the largest magnitudes of the inputs, (in,)."""
    inputs = _B.abs().sum(1)  # (6,): what B^T makes of inputs along an axis, in multiples of the largest
    inputs = torch.outer(inputs, inputs).flatten()
    products = torch.einsum("t,toi,i->to", inputs, tiles_of(kernel).abs(), bounds)
    outputs = torch.einsum("ak,bl,klo->abo", _A.abs(), _A.abs(), products.unflatten(0, (WINDOW, WINDOW)))
    return torch.maximum(products.amax(0), outputs.amax((0, 1)))


def convolve(x: Tensor, tiles: Tensor, bias: Tensor, y: Tensor) -> None:
    """Convolve ``x`` (in, H, W) into ``y`` (out, H, W), some rows of 4x4 tiles at a time.

    ``tiles`` is the kernel as :func:`tiles_of` gives it, ``bias`` is (out, 1).
    """
    height, width = x.shape[1:]
    rows, columns = -(-height // SIDE), -(-width // SIDE)
    whole = height % SIDE == 0 and width % SIDE == 0
    out = y if whole else x.new_empty(len(y), SIDE * rows, SIDE * columns)
    cells = out.view(len(y), rows, SIDE, columns, SIDE)
    padded = F.pad(x, (1, SIDE * columns + 1 - width, 1, SIDE * rows + 1 - height))
    windows = padded.unfold(1, WINDOW, SIDE).unfold(2, WINDOW, SIDE).permute(3, 4, 0, 1, 2)  # (6, 6, in, rows, columns)
    step = max(1, STRIP // columns)
    # what the stages of every strip read and write in turn; fresh memory for each would cost page faults
    here, there = x.new_empty(2, WINDOW**2 * max(len(x), len(y)) * min(step, rows) * columns)
    for top in range(0, rows, step):
        strip = windows[..., top : top + step, :]
        inputs = _beginning(here, *strip.shape).copy_(strip).flatten(2)
        inputs = _along_both(_B, inputs, there, here).view(WINDOW**2, len(x), -1)
        products = torch.bmm(tiles, inputs, out=_beginning(there, WINDOW**2, len(y), inputs.shape[2]))
        products[_IN_ALL].add_(bias, alpha=TIMES)
        outputs = _along_both(_A, products.view(WINDOW, WINDOW, -1), here, there)
        outputs = outputs.view(SIDE, SIDE, len(y), -1, columns).permute(2, 3, 0, 4, 1)
        torch.div(outputs, TIMES, out=cells[:, top : top + step])
    if not whole:
        y.copy_(out[:, :height, :width])


def _along_both(matrix: Tensor, x: Tensor, between: Tensor, into: Tensor) -> Tensor:
    """Apply a matrix (n, m) to both axes of (m, m, N): (n, n, N) at the beginning of ``into``, where x may lie."""
    matrix, (n, m), length = matrix.to(x.device), matrix.shape, x.shape[2]
    rows = torch.mm(matrix, x.flatten(1), out=_beginning(between, n, m * length)).view(n, m, length)
    return torch.bmm(matrix.expand(n, -1, -1), rows, out=_beginning(into, n, n, length))


def _beginning(memory: Tensor, *shape: int) -> Tensor:
    """Return the beginning of (N,) in another shape."""
    return memory[: math.prod(shape)].view(shape)
