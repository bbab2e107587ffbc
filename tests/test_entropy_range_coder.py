"""The entropy coder: round trips, escapes, damaged data, size against the ideal code length."""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weconvene_core.entropy.range_coder import Decoder, Encoder, Tables
from weconvene_core.errors import CorruptFileError, WeconveneError

SCALES = np.exp(np.linspace(math.log(0.11), math.log(64), 64))
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def gaussian_tables(scales: np.ndarray) -> Tables:
    """Tables of zero-mean Gaussians rounded to integers, in CompressAI's layout."""
    reach = [math.ceil(6 * s) for s in scales]
    cdf = np.zeros((len(scales), 2 * max(reach) + 3), dtype=np.int32)
    for row, scale, m in zip(cdf, scales, reach, strict=True):
        border = [0.5 * (1 + math.erf((x - 0.5) / (scale * math.sqrt(2)))) for x in range(-m, m + 2)]
        frequency = np.maximum(1, np.floor(np.diff(border) * 65000)).astype(np.int64)
        frequency[m] += 65535 - frequency.sum()
        row[1 : 2 * m + 3] = np.cumsum(np.append(frequency, 1))
    return Tables.from_buffers(cdf, [2 * m + 3 for m in reach], [-m for m in reach])


TABLES = gaussian_tables(SCALES)
SMALL_TABLES = gaussian_tables(np.array([0.2, 1.0, 5.0]))


def draw(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Symbols and rows such as a slice of latents gives: most scales small."""
    rng = np.random.default_rng(seed)
    indexes = np.minimum(len(SCALES) - 1, rng.exponential(12, count)).astype(np.int64)
    return np.round(rng.normal(0, SCALES[indexes])).astype(np.int32), indexes


def encode(parts: list[tuple[np.ndarray, np.ndarray, Tables]]) -> bytes:
    encoder = Encoder()
    for symbols, indexes, tables in parts:
        encoder.push(symbols, indexes, tables)
    return encoder.finish()


def test_several_pushes_come_back_in_order() -> None:
    parts = [(*draw(3000, 1), TABLES), (*(a % 3 for a in draw(500, 2)), SMALL_TABLES), (*draw(1, 3), TABLES)]
    decoder = Decoder(encode(parts))
    for symbols, indexes, tables in parts:
        result = decoder.pop(indexes, tables)
        assert result.dtype == np.int32
        np.testing.assert_array_equal(result, symbols)


SYMBOL = st.one_of(st.integers(-8, 8), st.integers(-1000, 1000), st.integers(INT32_MIN, INT32_MAX))


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(SYMBOL, st.integers(0, 2)), max_size=60))
def test_any_int32_survives(pairs: list[tuple[int, int]]) -> None:
    symbols = np.array([s for s, _ in pairs], dtype=np.int32)
    indexes = np.array([k for _, k in pairs], dtype=np.int64)
    data = encode([(symbols, indexes, SMALL_TABLES)])
    np.testing.assert_array_equal(Decoder(data).pop(indexes, SMALL_TABLES), symbols)


@pytest.mark.parametrize("offset", [INT32_MIN, -1, 0, INT32_MAX])
def test_escapes_at_the_limits_of_int32(offset: int) -> None:
    tables = Tables.from_buffers([[0, 65000, 65536]], [3], [offset])
    symbols = np.array([INT32_MIN, INT32_MIN + 1, -1, 0, 1, INT32_MAX - 1, INT32_MAX], dtype=np.int32)
    indexes = np.zeros(len(symbols), dtype=np.int64)
    np.testing.assert_array_equal(Decoder(encode([(symbols, indexes, tables)])).pop(indexes, tables), symbols)


def test_nothing_in_nothing_out() -> None:
    none = np.zeros(0, dtype=np.int32)
    data = encode([(none, none, TABLES)])
    assert len(data) <= 8
    assert Decoder(data).pop(none, TABLES).shape == (0,)


def test_size_is_within_half_a_percent_of_the_ideal() -> None:
    symbols, indexes = draw(100_000)
    bins = symbols - TABLES.offset[indexes]
    assert np.all((bins >= 0) & (bins < TABLES.escape[indexes]))  # no escapes, whose ideal is another
    frequency = TABLES.cdf[indexes, bins + 1] - TABLES.cdf[indexes, bins]
    ideal_bits = -np.log2(frequency / 65536).sum()
    assert ideal_bits <= 8 * len(encode([(symbols, indexes, TABLES)])) <= 1.005 * ideal_bits


def test_escape_costs_grow_with_the_logarithm_of_the_distance() -> None:
    tables = Tables.from_buffers([[0, 1, 65536]], [3], [0])  # nearly every symbol is an escape
    indexes = np.zeros(1000, dtype=np.int64)
    for distance in (1, 100, 10_000):
        bits = 8 * len(encode([(np.full(1000, distance, np.int32), indexes, tables)])) / 1000
        assert bits <= 2 * math.log2(2 * distance) + 2


def test_bytes_are_the_same_on_every_machine() -> None:
    """A golden digest: a changed fixed-point table, symbol order or byte order would break old files."""
    indexes = np.arange(20_000) % 64
    symbols = ((np.arange(20_000) * 7919) % 23 - 11).astype(np.int32)
    cdf = np.concatenate([np.arange(0, 31) * 2000, [65536]])[None] + np.zeros((64, 1), dtype=np.int64)
    cdf[:, 1:31] += np.arange(64)[:, None]
    tables = Tables.from_buffers(cdf, [32] * 64, np.arange(64) % 7 - 12)
    digest = hashlib.sha256(encode([(symbols, indexes, tables)])).hexdigest()
    assert digest == "6e2372ddbdf5983ed77501323d57a5f889c1b6ae9c0e530a18c4f99c9980bfbf"


def decode_by_hand(data: bytes, rows: np.ndarray, tables: Tables) -> list[int]:
    """The range decoder that docs/format.md describes, in Python integers alone."""
    words = [*np.frombuffer(data, dtype="<u4").tolist(), 0, 0]
    point, position, lower, width = words[0] << 32 | words[1], 2, 0, 2**64 - 1
    bins = []
    for row in rows:
        count = int(tables.escape[row]) + 1
        border = [int(c) * (2**24 - count) // 65536 + i for i, c in enumerate(tables.cdf[row, :count])] + [2**24]
        unit = width >> 24
        bins.append(bisect.bisect_right(border, (point - lower) % 2**64 // unit) - 1)
        lower = (lower + unit * border[bins[-1]]) % 2**64
        width = unit * (border[bins[-1] + 1] - border[bins[-1]])
        if width < 2**32:
            word = words[position] if position < len(words) else 0
            lower, width, point, position = (
                lower << 32 & 2**64 - 1,
                width << 32,
                point << 32 & 2**64 - 1 | word,
                position + 1,
            )
    return bins


def test_a_decoder_in_integers_alone_reads_the_stream() -> None:
    """So no floating-point rounding, which could differ between machines, has a part in the format."""
    symbols, indexes = draw(3000, 5)
    order = np.argsort(indexes, kind="stable")
    bins = decode_by_hand(encode([(symbols, indexes, TABLES)]), indexes[order], TABLES)
    np.testing.assert_array_equal(bins, (symbols - TABLES.offset[indexes])[order])


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=400), st.integers(0, 2**32 - 1))
def test_random_bytes_never_crash(data: bytes, seed: int) -> None:
    indexes = np.random.default_rng(seed).integers(0, 3, 2000)
    with contextlib.suppress(CorruptFileError):
        assert Decoder(data).pop(indexes, SMALL_TABLES).shape == (2000,)


def test_truncated_data_never_crashes() -> None:
    symbols, indexes = draw(800)
    symbols[::50] = np.linspace(INT32_MIN, INT32_MAX, 16).astype(np.int64)  # escapes of every length
    data = encode([(symbols, indexes, TABLES)])
    for length in range(len(data)):
        try:
            result = Decoder(data[:length]).pop(indexes, TABLES)
        except CorruptFileError:
            continue
        assert result.shape == symbols.shape
        assert length % 4 == 0


def test_long_escapes_without_data_are_refused() -> None:
    """All-ones data reads as escape after escape: it must end in an error, not in gigabytes."""
    tables = Tables.from_buffers([[0, 1, 65536]], [3], [0])
    with pytest.raises(CorruptFileError):
        Decoder(b"\xff" * 400).pop(np.zeros(2_000_000, dtype=np.int64), tables)


def test_compressai_decodes_its_own_buffers_the_same() -> None:
    """Our reading of CompressAI's table layout agrees with CompressAI's own conditional model."""
    torch = pytest.importorskip("torch")
    from compressai.entropy_models import GaussianConditional

    model = GaussianConditional(SCALES.tolist())
    model.update()
    symbols, indexes = draw(2000)
    string = model.compress(torch.from_numpy(symbols).float()[None], torch.from_numpy(indexes).int()[None])
    expected = model.decompress(string, torch.from_numpy(indexes).int()[None])[0].numpy()
    tables = Tables.from_buffers(model.quantized_cdf, model.cdf_length, model.offset)
    data = encode([(symbols, indexes, tables)])
    np.testing.assert_array_equal(Decoder(data).pop(indexes, tables), expected)
    assert len(data) <= len(string[0]) * 1.005 + 8


@pytest.mark.parametrize(
    ("cdf", "length", "offset"),
    [
        ([[0, 5, 5, 65536]], [4], [0]),  # a bin without probability
        ([[1, 5, 9, 65536]], [4], [0]),  # does not start at 0
        ([[0, 5, 9, 65535]], [4], [0]),  # does not reach the total
        ([[0, 65536, 0, 0]], [2], [0]),  # no room for an escape
        ([[0, 5, 9, 65536]], [5], [0]),  # longer than its row
        ([[0, 5, 9, 65536]], [4, 4], [0, 0]),  # more lengths than rows
        ([[0.0, 5.0, 65536.0]], [3], [0]),  # not integers
        ([[0, 5, 65536]], [3], [2**40]),  # offset beyond 32 bits
        (np.zeros((0, 4), dtype=int), np.zeros(0, dtype=int), np.zeros(0, dtype=int)),
    ],
)
def test_damaged_tables_are_refused(cdf: list, length: list, offset: list) -> None:
    with pytest.raises(WeconveneError):
        Tables.from_buffers(cdf, length, offset)


@pytest.mark.parametrize("indexes", [np.array([0, 3]), np.array([-1, 0])])
def test_rows_outside_the_tables_are_refused(indexes: np.ndarray) -> None:
    with pytest.raises(ValueError, match="rows"):
        Encoder().push(np.zeros(indexes.shape, dtype=np.int32), indexes, SMALL_TABLES)
