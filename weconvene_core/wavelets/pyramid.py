"""The result of a multi-level DWT: bands by name, and their energies.

Band names follow JPEG 2000. The first letter is the *horizontal* filter, the second the *vertical* one, the number is
the level, 1 being the finest. Two levels give the seven bands of the paper: LL2, HL2, LH2, HH2, HL1, LH1, HH1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from weconvene_core.wavelets.lifting_plan import Mode
from weconvene_core.wavelets.lifting_schemes import Scaling, Wavelet

if TYPE_CHECKING:
    from weconvene_core.wavelets.dwt import AxisDWT

HEIGHT, WIDTH, CHANNEL = -2, -1, -3  # axes of a feature map (..., C, H, W)


@dataclass(frozen=True)
class Details:
    """The three high-frequency bands of one level, each (..., C, h, w).

    ``hl``: high-pass along the width (vertical edges), ``lh``: high-pass along the height (horizontal edges),
    ``hh``: both (diagonals).
    """

    hl: Tensor
    lh: Tensor
    hh: Tensor


@dataclass(frozen=True)
class Pyramid:
    """A multi-level DWT, and how it was made.

    Parameters
    ----------
    low : LL_J, (..., C, h, w).
    details : ``details[0]`` is the finest level, ``details[J - 1]`` the coarsest.
    wavelet, scaling, mode : as in :func:`weconvene_core.wavelets.dwt2d`.
    channel_split : how the channels of every band are divided, None without channel DWT. Its subbands follow each
        other along the channel axis, lowest frequency first.
    """

    low: Tensor
    details: tuple[Details, ...]
    wavelet: Wavelet
    scaling: Scaling = "orthonormal"
    channel_split: AxisDWT | None = None
    mode: Mode = "symmetric"

    @property
    def levels(self) -> int:
        """Number of spatial levels J."""
        return len(self.details)

    def bands(self) -> dict[str, Tensor]:
        """Return every band by name, coarsest first: LL_J, HL_J, LH_J, HH_J, HL_(J-1), ..."""
        named = {f"LL{self.levels}" if self.levels else "LL": self.low}
        for level in range(self.levels, 0, -1):
            detail = self.details[level - 1]  # level 1 is the finest
            named |= {f"HL{level}": detail.hl, f"LH{level}": detail.lh, f"HH{level}": detail.hh}
        return named

    def energies(self) -> dict[str, float]:
        """Return the share of the total energy (sum of squares, 0 to 1) of every band by name."""
        energy = {name: band.double().square().sum().item() for name, band in self.bands().items()}
        total = sum(energy.values()) or 1.0  # of an orthonormal wavelet, the energy of the signal
        return {name: value / total for name, value in energy.items()}
