"""The wavelet shortcut (ours): a fixed wavelet pyramid of the image, laid out as latent channels.

The pyramid is added to the latent and inverted beside the decoder. So the untrained network is a wavelet codec, and
training refines it (related: wavelet auxiliary transforms, ICLR 2025). Three 9/7 levels give 192 channels at 1/8 of the
image's size: 48 LF (LL3, levels 3 and 2) and 144 HF (level 1), as a one-level DWT of a 48-channel latent at 1/4 has.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weconvene_core.wavelets import Details, Pyramid, dwt2d, idwt2d

SliceOrder = Literal["polyphase", "band"]
WAVELET = "9/7"
LEVELS = 3
COLOURS = 3
BANDS = 3 * COLOURS  # HL, LH, HH of three colour components
LL_CHANNELS = COLOURS
LF_CHANNELS = LL_CHANNELS + BANDS + BANDS * 4
HF_CHANNELS = BANDS * 16
LF_SLICES = (LL_CHANNELS, BANDS, BANDS * 2, BANDS * 2)
HF_SLICES = (BANDS * 4,) * 4


def colour_matrix() -> Tensor:
    """Return the orthonormal luma / red-blue / green transform (3, 3); rows are the components."""
    rows = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]])  # orthogonal
    return rows / rows.norm(dim=1, keepdim=True)


def polyphase_order(factor: int) -> list[int]:
    """Order the factor^2 positions of a block (row-major): even diagonal, odd diagonal, then the two mixed parities.

    The neighbours of a position lie in other slices, so channel-wise autoregression is spatial context as well.
    """
    parities = ((0, 0), (1, 1), (0, 1), (1, 0))  # the last two have all their neighbours in the first two
    cells = [(row, column) for row in range(factor) for column in range(factor)]
    return [r * factor + c for parity in parities for r, c in cells if (r % 2, c % 2) == parity]


class WaveletShortcut(nn.Module):
    """Fixed analysis and synthesis between an image (B, 3, H, W) in 0..1 and latent channels at 1/8.

    H and W must be multiples of 8. No parameter is trained. ``order`` says how the channels of a level are ordered:
    by position (``polyphase``) or by subband (``band``).
    """

    def __init__(self, order: SliceOrder = "polyphase") -> None:
        super().__init__()
        self.register_buffer("colour", colour_matrix(), persistent=False)
        for name, factor in (("order2", 2), ("order4", 4)):
            channels = torch.arange(BANDS * factor**2)  # as ``pixel_unshuffle`` makes them: position within band
            if order == "polyphase":  # band within position
                channels = channels.view(BANDS, factor**2)[:, polyphase_order(factor)].T.flatten()
            self.register_buffer(name, channels, persistent=False)
            self.register_buffer(f"{name}_back", torch.argsort(channels), persistent=False)

    def analysis(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return (LF, HF): (B, 3, H, W) -> (B, 48, H/8, W/8), (B, 144, H/8, W/8)."""
        # (B, 3, H, W) -> three colour components -> LL3, and HL, LH, HH of three levels
        pyramid = dwt2d(torch.einsum("ij,bjhw->bihw", self.colour, x - 0.5), WAVELET, LEVELS)
        # HL, LH and HH of the three components side by side: (B, 9, H/2^j, W/2^j)
        level1, level2, level3 = [torch.cat([d.hl, d.lh, d.hh], 1) for d in pyramid.details]
        fine2 = F.pixel_unshuffle(level2, 2)[:, self.order2]  # (B, 9, H/4, W/4) -> (B, 36, H/8, W/8)
        fine1 = F.pixel_unshuffle(level1, 4)[:, self.order4]  # (B, 9, H/2, W/2) -> (B, 144, H/8, W/8)
        return torch.cat([pyramid.low, level3, fine2], 1), fine1  # 3 + 9 + 36 channels, 144 channels

    def synthesis(self, lf: Tensor, hf: Tensor) -> Tensor:
        """Invert :meth:`analysis`: two latents at 1/8 -> (B, 3, H, W)."""
        low, level3, fine2 = lf.split([LL_CHANNELS, BANDS, BANDS * 4], 1)  # all (B, ., H/8, W/8)
        level2 = F.pixel_shuffle(fine2[:, self.order2_back], 2)  # (B, 36, H/8, W/8) -> (B, 9, H/4, W/4)
        level1 = F.pixel_shuffle(hf[:, self.order4_back], 4)  # (B, 144, H/8, W/8) -> (B, 9, H/2, W/2)
        details = tuple([Details(*level.chunk(3, 1)) for level in (level1, level2, level3)])
        # the colour matrix is orthonormal: its transpose is its inverse
        return torch.einsum("ji,bjhw->bihw", self.colour, idwt2d(Pyramid(low, details, WAVELET))) + 0.5
