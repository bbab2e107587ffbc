"""The result of a multi-level DWT: named bands, energies, a mosaic to look at, and packing into channels.

Band names follow JPEG 2000: the first letter is the *horizontal* filter, the second the *vertical* one, the number is
the level, 1 being the finest. Two levels give seven bands: LL2, HL2, LH2, HH2, HL1, LH1, HH1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from weconvene_core.errors import WeconveneError
from weconvene_core.wavelets.channel_dwt import AxisDWT
from weconvene_core.wavelets.lifting_plan import Mode
from weconvene_core.wavelets.lifting_schemes import Scaling, Wavelet

HEIGHT, WIDTH, CHANNEL = -2, -1, -3


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
    """A multi-level DWT: ``low`` is LL_J, ``details[0]`` the finest level, ``details[J - 1]`` the coarsest.

    ``channel_split`` tells how the channels of every band are divided (None: no channel DWT): its subbands follow each
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
            detail = self.details[level - 1]
            named |= {f"HL{level}": detail.hl, f"LH{level}": detail.lh, f"HH{level}": detail.hh}
        return named

    def channel_bands(self) -> dict[str, Tensor]:
        """Return every band of every channel subband, e.g. ``L1-LL2``, ``H1-HH1``; without a split as :meth:`bands`."""
        if self.channel_split is None:
            return self.bands()
        split = self.channel_split
        return {
            f"{group}-{name}": part
            for name, band in self.bands().items()
            for group, part in zip(split.names, band.split(split.sizes, CHANNEL), strict=True)
        }

    def energies(self) -> dict[str, float]:
        """Return the share of the total energy (sum of squares, 0 to 1) of every band by name."""
        energy = {name: band.double().square().sum().item() for name, band in self.bands().items()}
        total = sum(energy.values()) or 1.0
        return {name: value / total for name, value in energy.items()}

    def mosaic(self) -> Tensor:
        """Lay the bands out in the picture's size (..., C, H, W): LL_J in the top left corner, HL right, LH below."""
        x = self.low
        for detail in reversed(self.details):
            x = torch.cat([torch.cat([x, detail.hl], WIDTH), torch.cat([detail.lh, detail.hh], WIDTH)], HEIGHT)
        return x

    def packed(self) -> Tensor:
        """Stack everything as channels at the coarsest resolution: (B, C, H, W) -> (B, 4^J C, H/2^J, W/2^J).

        Order as :meth:`bands`; finer bands become polyphase channels (``pixel_unshuffle``).

        Raises
        ------
        WeconveneError
            If height or width of the transformed signal are no multiples of 2^J.
        """
        height, width = self.low.shape[HEIGHT:]
        parts = [self.low]
        for level in range(self.levels, 0, -1):
            factor = 2 ** (self.levels - level)
            for band in (self.details[level - 1].hl, self.details[level - 1].lh, self.details[level - 1].hh):
                if band.shape[HEIGHT:] != (height * factor, width * factor):
                    raise WeconveneError(
                        f"the pyramid has a band of {tuple(band.shape[HEIGHT:])} at level {level} over LL of "
                        f"{(height, width)}; packing needs a height and width that are multiples of {2**self.levels}."
                    )
                parts.append(F.pixel_unshuffle(band, factor))
        return torch.cat(parts, CHANNEL)

    def unpacked(self, packed: Tensor) -> Pyramid:
        """Return a pyramid like this one with the bands of ``packed`` (see :meth:`packed`).

        Raises
        ------
        WeconveneError
            If the number of channels is not 4^J times this pyramid's.
        """
        channels = self.low.shape[CHANNEL]
        if packed.shape[CHANNEL] != channels * 4**self.levels:
            raise WeconveneError(
                f"packed has {packed.shape[CHANNEL]} channels; {self.levels} levels of {channels} channels have "
                f"{channels * 4**self.levels}."
            )
        low, details, start = packed.narrow(CHANNEL, 0, channels), [], channels
        for coarser in range(self.levels):
            width = channels * 4**coarser
            bands = (packed.narrow(CHANNEL, start + i * width, width) for i in range(3))
            details.append(Details(*(F.pixel_shuffle(band, 2**coarser) for band in bands)))
            start += 3 * width
        return replace(self, low=low, details=tuple(reversed(details)))
