"""What a configuration costs by formulas alone: they know its fields and the size of the image, and no network.

A MAC is one multiplication with its addition. :mod:`.complexity` counts the same while the network runs; a test and
notebook 07 compare the two. Sides must be multiples of the configuration's ``stride``.
"""

from __future__ import annotations

from collections.abc import Iterator

from weconvene_core.entropy.charm import LL_WAVELET, pass_positions, slice_shapes
from weconvene_core.layers.blocks import WeConvSpec
from weconvene_core.layers.wavelet_shortcut import COLOURS, LEVELS, LL_CHANNELS, WAVELET
from weconvene_core.layers.window_attention import HEAD_WIDTH, MLP_RATIO, WINDOW
from weconvene_core.model.config import ModelConfig
from weconvene_core.model.transforms import hyper_spec
from weconvene_core.wavelets import scheme

FOLDING, OUTSIDE = "kernel folding", "outside the parts"
Macs = dict[str, int]
Size = tuple[int, int]


def macs_by_hand(config: ModelConfig, height: int, width: int) -> tuple[Macs, Macs]:
    """Return the MACs of encoding and of decoding an image by part, as ``complexity.count_macs`` counts them."""
    charm = sum(macs for _, _, _, macs in slice_macs(config, height, width))
    shared = {"h_s": _h_s(config, height, width), "charm": charm}
    colour = {OUTSIDE: COLOURS**2 * height * width} if config.shortcut else {}
    encode = {"g_a": _g_a(config, height, width), "h_a": _h_a(config, height, width)} | shared
    decode = {"g_s": _g_s(config, height, width)} | shared
    layers = [list(_layers(config, side)) for side in ("encode", "decode")]
    return encode | _folding(layers[0], config) | colour, decode | _folding(layers[1], config) | colour


def slice_macs(config: ModelConfig, height: int, width: int) -> list[tuple[str, int, int, int]]:
    """Return (name, channels seen, channels coded, MACs) of every slice network, in coding order."""
    layout, rows = config.layout, []
    for i, (seen, coded) in enumerate(slice_shapes(layout, config.hyper_features)):
        level = layout.ll_levels - max(0, i - layout.ll_passes)
        h, w = _size(height, width, config.coded_stride * 2 ** max(0, level))
        passes = len(pass_positions(h, w)) if layout.ll_passes and i == 0 else 1
        rows.append((slice_names(config)[i], seen, coded, _slice(seen, coded, config, h, w, passes)))
    return rows


def slice_names(config: ModelConfig) -> list[str]:
    """Name every slice network in coding order: LL levels where there are some, then LF slices, then HF slices."""
    layout = config.layout
    ll = ["LL band"] * layout.ll_passes + [f"LL level {layout.ll_levels - i}" for i in range(layout.ll_levels)]
    group = "LF slice" if config.wavelet_entropy else "slice"
    lf = [f"{group} {i}" for i in range(1, len(layout.lf) + 1 - (1 if ll else 0))]
    return ll + lf + [f"HF slice {i}" for i in range(1, len(layout.hf) + 1)]


def _size(height: int, width: int, stride: int) -> Size:
    return height // stride, width // stride


def _residual(channels: int, spec: WeConvSpec | None, size: Size) -> int:
    """A residual block: two plain 3x3 convolutions, or one and a 3DM-WeConv."""
    plain = 9 * channels**2 * size[0] * size[1]
    return plain + (plain if spec is None else _weconv(channels, spec, size))


def _weconv(channels: int, spec: WeConvSpec, size: Size) -> int:
    """3DM-WeConv: 3x3 on the low band, a 4^-J share of all samples, and the small kernels on the others."""
    total, (h, w), square = 0, size, channels**2
    for _ in range(spec.levels):
        low_h, low_w = -(-h // 2), -(-w // 2)
        joint, separate = 9 * square * low_h * low_w, square * (h * w - low_h * low_w)
        total += spec.high_kernel**2 * (joint if spec.joint_high else separate) + (joint if spec.gdn else 0)
        h, w = low_h, low_w
    return total + (9 + spec.gdn) * square * h * w


def _down(into: int, out: int, spec: WeConvSpec, size: Size) -> int:
    """Stride-2 block; ``size`` is that of its output."""
    return (9 * into * out + into * out) * size[0] * size[1] + _weconv(out, spec, size)


def _up(into: int, out: int, spec: WeConvSpec, kernel: int, size: Size) -> int:
    """Sub-pixel block; ``size`` is that of its output."""
    return 2 * kernel**2 * into * out * size[0] * size[1] + _weconv(out, spec, size)


def _entry(into: int, out: int, residual: bool, kernel: int, size: Size) -> int:
    """First layer: a convolution, or two with GDN and a 1x1 skip."""
    per_position = 10 * into * out + 10 * out**2 if residual else kernel**2 * into * out
    return per_position * size[0] * size[1]


def _g_a(config: ModelConfig, height: int, width: int) -> int:
    n, w, spec = config.narrow, config.wide, config.weconv
    block = spec if config.weconv_residual else None
    size = _size(height, width, config.patch_a)
    total = _entry(3 * config.patch_a**2, n, config.residual_ends, 3, size)
    total += config.blocks_a * _residual(n, block, size)
    for i in range(1, config.scales_a):
        size = _size(height, width, config.patch_a * 2**i)
        total += _down(n if i == 1 else w, w, spec, size) + config.blocks_a * _residual(w, block, size)
    if config.coarsest_a > config.latent_stride:  # a 1x1 sub-pixel step up
        return total + w * 4 * config.latent_channels * size[0] * size[1]
    h, w_out = _size(height, width, config.latent_stride)
    return total + 9 * w * config.latent_channels * h * w_out


def _g_s(config: ModelConfig, height: int, width: int) -> int:
    n, w, spec = config.narrow, config.wide, config.weconv
    block = spec if config.weconv_residual else None
    size = _size(height, width, config.coarsest_s)
    fold = config.coarsest_s // config.latent_stride
    total = _entry(config.latent_channels * fold**2, w, config.residual_ends, 1, size)
    total += config.blocks_s * _residual(w, block, size)
    for i in reversed(range(config.scales_s - 1)):
        size, out = _size(height, width, config.patch_s * 2**i), w if i else n
        total += _up(w, out, spec, config.up_kernel, size) + config.blocks_s * _residual(out, block, size)
    pixels = 3 * config.patch_s**2
    return total + (2 if config.shortcut else 1) * 9 * n * pixels * size[0] * size[1]


def _h_a(config: ModelConfig, height: int, width: int) -> int:
    c, spec = config.hyper, hyper_spec(config)
    fine, middle, coarse = (_size(height, width, config.coded_stride * 2**i) for i in range(3))
    total = 9 * config.coded_channels * c * fine[0] * fine[1] + _down(c, c, spec, middle)
    total += config.hyper_blocks * _residual(c, None, middle)
    return total + 9 * c * config.z_channels * coarse[0] * coarse[1]


def _h_s(config: ModelConfig, height: int, width: int) -> int:
    c, spec = config.hyper, hyper_spec(config)
    fine, middle, coarse = (_size(height, width, config.coded_stride * 2**i) for i in range(3))
    total = 9 * config.z_channels * c * coarse[0] * coarse[1] + config.hyper_blocks * _residual(c, None, middle)
    total += sum(_up(c, c, spec, config.up_kernel, size) for size in (middle, fine))
    return total * (2 if config.slice_network == "split" else 1)


def _slice(seen: int, coded: int, config: ModelConfig, h: int, w: int, passes: int = 1) -> int:
    """A slice network on a map of the given size, see :mod:`weconvene_core.entropy.slices`.

    Its body sees the whole map in every pass, its head and correction the positions of that pass alone.
    """
    hidden = config.slice_hidden
    if config.slice_network == "split":
        seen, narrow = seen - config.hyper, hidden * 4 // 7
        stacks = 3 * 9 * (seen * hidden + hidden * narrow + narrow * coded) + 9 * coded * hidden
        attention = 2 * _attention(seen, hidden, h, w) if config.slice_attention else 0
        return stacks * h * w + attention
    body = seen * hidden + 9 * hidden**2
    head = hidden * 2 * coded
    correction = (hidden + coded) * (hidden // 2) + hidden // 2 * coded
    lumas = coded // COLOURS
    chroma = (hidden + lumas) * (hidden // 2) + hidden // 2 * 2 * (coded - lumas) if config.luma_first else 0
    attention = _attention(seen, hidden, h, w) if config.slice_attention else 0
    return (passes * body + head + correction + chroma) * h * w + passes * attention


def _attention(channels: int, hidden: int, h: int, w: int) -> int:
    """1x1 in and out, and two blocks on windows that padding has filled up."""
    inner = max(1, hidden * 4 // 7 // HEAD_WIDTH) * HEAD_WIDTH
    total = 2 * channels * inner * h * w
    for offset in (0, WINDOW // 2):
        rows, columns = (-(-(side + offset) // WINDOW) for side in (h, w))
        tokens = rows * columns * WINDOW**2
        total += tokens * ((4 + 2 * MLP_RATIO) * inner**2 + 2 * WINDOW**2 * inner)
    return total


# --- what is not a convolution ---------------------------------------------------------------------------------------


def _layers(config: ModelConfig, side: str) -> Iterator[tuple[int, int, WeConvSpec]]:
    """Yield (channels, stride of its map, spec) of every 3DM-WeConv layer that runs when encoding or decoding."""
    first, scales, blocks = (
        (config.patch_a, config.scales_a, config.blocks_a)
        if side == "encode"
        else (config.patch_s, config.scales_s, config.blocks_s)
    )
    for i in range(scales):
        channels = config.wide if i else config.narrow
        # encoding enters a scale by its stride-2 block, decoding leaves one by its up block
        steps = 1 if (i > 0 if side == "encode" else i < scales - 1) else 0
        for _ in range(steps + (blocks if config.weconv_residual else 0)):
            yield channels, first * 2**i, config.weconv
    hyper, copies = hyper_spec(config), 2 if config.slice_network == "split" else 1
    if side == "encode":
        yield config.hyper, 2 * config.coded_stride, hyper
    for _ in range(copies):
        yield config.hyper, 2 * config.coded_stride, hyper
        yield config.hyper, config.coded_stride, hyper


def _folding(layers: list[tuple[int, int, WeConvSpec]], config: ModelConfig) -> Macs:
    """MACs of folding the channel DWT into the kernels, once per image: two C x C products per kernel position."""
    total = 0
    for channels, _, spec in layers:
        if spec.channel_dwt:
            blocks = 9 if spec.joint_high else 3  # C x C kernels per level
            total += 2 * channels**3 * (9 + blocks * spec.high_kernel**2 * spec.levels)
    return {FOLDING: total} if total else {}


def lifting_flops(config: ModelConfig, height: int, width: int) -> tuple[int, int]:
    """Additions and multiplications of all wavelet transforms in encoding and in decoding; halve them for MACs.

    For sides at which every band splits evenly.
    """
    n = height * width
    shortcut = COLOURS * _levels(WAVELET, n, LEVELS) if config.shortcut else 0
    ll = LL_CHANNELS * _levels(LL_WAVELET, n // config.coded_stride**2, config.layout.ll_levels)
    volume = _latent(config, n // config.latent_stride**2) if config.wavelet_entropy else 0
    sides = [sum(_layer_flops(*layer, n) for layer in _layers(config, side)) for side in ("encode", "decode")]
    return shortcut + volume + 2 * ll + sides[0], shortcut + volume + ll + sides[1]


def _layer_flops(channels: int, stride: int, spec: WeConvSpec, pixels: int) -> int:
    """There and back; a normalisation keeps the inverse channel DWT from being folded into the kernels."""
    samples = pixels // stride**2
    folded = 2 * channels * _levels(spec.wavelet, samples, spec.levels)
    if not (spec.gdn and spec.channel_dwt):
        return folded
    return folded + _channels(channels, samples, spec.wavelet, spec.channel_levels, spec.channel_packets)


def _latent(config: ModelConfig, samples: int) -> int:
    """The 3-D DWT of the latent, or its 2-D one."""
    channels, wavelet = config.latent_channels, config.latent_wavelet
    total = channels * _levels(wavelet, samples, 1)
    if not config.latent_channel_dwt:
        return total
    return total + _channels(channels, samples, wavelet, config.channel_levels, config.channel_packets)


def _channels(channels: int, samples: int, wavelet: str, levels: int, packets: bool) -> int:
    """A transform across channels: a level at a time, on the low half alone or (packets) on everything."""
    return sum(_pass(wavelet, samples * (channels if packets else channels // 2**j), 1) for j in range(levels))


def _levels(wavelet: str, samples: int, levels: int) -> int:
    """Operations of a 2-D transform (or its inverse): along the height, then the width, then again on the low band."""
    return sum(_pass(wavelet, samples // 4**j, 2) for j in range(levels))


def _pass(wavelet: str, samples: int, axes: int) -> int:
    """Operations of one level along so many axes: a tap changes every second sample, and each sample is scaled once."""
    taps = sum(len(step.taps) for step in scheme(wavelet).steps)
    return axes * (samples // 2) * 2 * taps + samples
