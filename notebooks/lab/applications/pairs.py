"""The same network three times: plain 3x3 convolutions, and 3DM-WeConv at equal parameters and at equal MACs.

A 3DM-WeConv layer stores more numbers than a 3x3 convolution of the same width and multiplies far less often, so no
single width matches both: one network is made narrower until its parameters agree, another wider until its
multiplications do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor, nn

from lab.layer_analysis.denoising_trial import forward_macs
from weconvene_core.errors import WeconveneError
from weconvene_core.layers import WeConvSpec
from weconvene_core.layers.convert_network import obstacle, replace_convolutions

PLAIN, EQUAL_PARAMETERS, EQUAL_MACS = "plain 3x3", "3DM-WeConv, equal parameters", "3DM-WeConv, equal MACs"
SMALLEST_WIDTH = 4
WIDEST = 4
"""No counterpart is so many times as wide: even 1x1 kernels everywhere would save a factor of 9 = 3 x 3 alone."""
TOLERANCE = 0.15
"""Widths are whole numbers: the nearest one may miss the target by this share, and by no more."""

Build = Callable[[int], nn.Module]


@dataclass(frozen=True)
class Contender:
    """One network of a comparison.

    Attributes:
        name: what tables and figures call it.
        build: makes it, with weights drawn from torch's generator.
        width: its number of channels.
        parameters: how many numbers it holds.
        macs: multiplications of one forward pass of the sample, the channel DWT folded into the kernels.
    """

    name: str
    build: Callable[[], nn.Module]
    width: int
    parameters: int
    macs: int


def with_weconv(network: nn.Module, spec: WeConvSpec, fewest: int = SMALLEST_WIDTH) -> nn.Module:
    """Replace, in place, the stride-1 convolutions of 3x3 and more by freshly drawn 3DM-WeConv layers; return it.

    Layers with fewer than ``fewest`` input or output channels stay: the first and the last, which see pictures.

    Raises:
        WeconveneError: nothing could be replaced.
    """
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    fitting = {m for m in convolutions if not obstacle(m) and min(m.in_channels, m.out_channels) >= fewest}
    if not fitting:
        raise WeconveneError(f"none of the network's {len(convolutions)} convolutions can become a 3DM-WeConv layer.")
    replace_convolutions(
        network, lambda _, conv: spec.layer(conv.in_channels, conv.out_channels) if conv in fitting else None
    )
    return network


def contenders(build: Build, width: int, sample: Tensor, spec: WeConvSpec) -> tuple[Contender, Contender, Contender]:
    """Return the plain network of a width and its two counterparts.

    Args:
        build: makes the plain network of a given width, whose cost grows with the width.
        width: channels of the plain network.
        sample: input whose multiplications are counted, (1, C, H, W).
        spec: the 3DM-WeConv layers.

    Raises:
        WeconveneError: no width comes close enough to the plain network's cost.
    """

    def weconv(channels: int) -> nn.Module:
        return with_weconv(build(channels), spec)

    def macs(channels: int) -> int:
        """A finished network folds its channel DWT once, and then costs what one without it costs."""
        return forward_macs(with_weconv(build(channels), replace(spec, channel_dwt=False)), sample)

    plain = build(width)
    wanted, multiplied = _parameters(plain), forward_macs(plain, sample)
    found = {
        EQUAL_PARAMETERS: _nearest(lambda channels: _parameters(weconv(channels)), wanted, WIDEST * width),
        EQUAL_MACS: _nearest(macs, multiplied, WIDEST * width),
    }
    counterparts = [
        Contender(name, lambda channels=channels: weconv(channels), channels, _parameters(weconv(channels)),
                  macs(channels))
        for name, channels in found.items()
    ]  # fmt: skip
    return Contender(PLAIN, lambda: build(width), width, wanted, multiplied), *counterparts


def _parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _nearest(cost: Callable[[int], int], target: int, widest: int) -> int:
    """Return the width whose cost, which grows with it, is nearest to the target."""
    low, high = SMALLEST_WIDTH, widest
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) <= target else (low, middle)
    costs = {width: cost(width) for width in (low, high)}
    best = min(costs, key=lambda width: abs(costs[width] - target))
    if abs(costs[best] - target) > TOLERANCE * target:
        raise WeconveneError(
            f"no width from {SMALLEST_WIDTH} to {widest} costs {target} within {100 * TOLERANCE:.0f} %; "
            f"the nearest, {best}, costs {costs[best]}: change the width of the plain network."
        )
    return best
