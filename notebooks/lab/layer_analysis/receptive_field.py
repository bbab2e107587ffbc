"""Receptive field of a convolution in the wavelet domain, by following which samples a sample depends on.

Backwards through the inverse lifting steps, the kernels and the forward lifting steps, an interval of needed samples
grows by the offsets of the taps; per level the interval of positions halves. All phases of the 2^J grid are followed,
and the widest window counts. Borders are left out: the signal is endless.
"""

from __future__ import annotations

from typing import NamedTuple

from weconvene_core.layers import WeConv3d
from weconvene_core.wavelets import LiftingScheme, Wavelet, scheme


class Span(NamedTuple):
    """First and last needed index."""

    first: int
    last: int

    def joined(self, other: Span | None) -> Span:
        """Smallest span that holds both."""
        return self if other is None else Span(min(self.first, other.first), max(self.last, other.last))

    def widened(self, left: int, right: int) -> Span:
        """Span grown by ``left`` (<= 0 grows) and ``right`` samples."""
        return Span(self.first + left, self.last + right)


def receptive_field(wavelet: Wavelet, levels: int, low_kernel: int = 3, high_kernel: int = 1) -> int:
    """Width in samples of the input window that one output of the layer depends on, the largest over all positions.

    By hand, for Haar and one level: an output lies in a pair, its LF coefficient sees ``low_kernel`` pairs, so the
    window is 2 ``low_kernel`` wide. Longer wavelets add their own support at every level.
    """
    lifting = scheme(wavelet)
    spans = [_needed(lifting, levels, Span(p, p), low_kernel, high_kernel) for p in range(2**levels)]
    return max(span.last - span.first + 1 for span in spans)


def receptive_field_of(layer: WeConv3d) -> int:
    """Width in samples of the input window that one output of this layer depends on."""
    return receptive_field(layer.wavelet, layer.levels, layer.low_weight.shape[-1], layer.high_weight.shape[-1])


def _needed(lifting: LiftingScheme, levels: int, span: Span, low_kernel: int, high_kernel: int) -> Span:
    """Samples of the layer's input that its output over ``span`` depends on."""
    if levels == 0:
        return span.widened(-(low_kernel // 2), low_kernel // 2)
    low, high = _bands_of(lifting, span)
    low = _needed(lifting, levels - 1, low, low_kernel, high_kernel)
    high = high.widened(-(high_kernel // 2), high_kernel // 2)
    return _samples_of(lifting, low, high)


def _bands_of(lifting: LiftingScheme, span: Span) -> tuple[Span, Span]:
    """Coefficients that the inverse transform needs for the samples of ``span``; undo the steps from the last one."""
    low, high = _halves(span)
    for step in lifting.steps:  # the inverse runs them backwards, so its dependencies are followed forwards
        low, high = _after(step.target, [tap.offset for tap in step.taps], low, high)
    return _known(low), _known(high)


def _samples_of(lifting: LiftingScheme, low: Span | None, high: Span | None) -> Span:
    """Samples that the forward transform needs for these coefficients."""
    for step in reversed(lifting.steps):
        low, high = _after(step.target, [tap.offset for tap in step.taps], low, high)
    low, high = _known(low), _known(high)
    return Span(2 * low.first, 2 * low.last).joined(Span(2 * high.first + 1, 2 * high.last + 1))


def _after(target: str, offsets: list[int], low: Span | None, high: Span | None) -> tuple[Span | None, Span | None]:
    """Add to the source's span what the target's samples read from it."""
    wanted = high if target == "high" else low
    if wanted is None:
        return low, high
    read = wanted.widened(min(offsets), max(offsets))
    return (read.joined(low), high) if target == "high" else (low, read.joined(high))


def _known(span: Span | None) -> Span:
    assert span is not None, "a wavelet without steps has no field to follow"
    return span


def _halves(span: Span) -> tuple[Span | None, Span | None]:
    """Even and odd samples of a span, as indices into the two halves."""
    low, high = Span(-(-span.first // 2), span.last // 2), Span(-(-(span.first - 1) // 2), (span.last - 1) // 2)
    return (low if low.first <= low.last else None), (high if high.first <= high.last else None)
