"""The file format: round trips, and every way in which a file can be damaged."""

from __future__ import annotations

import tracemalloc
import zlib
from dataclasses import replace

import pytest
from damaged_files import is_one_sentence, with_right_checksums
from hypothesis import given, settings
from hypothesis import strategies as st

from weconvene_core.codec.container import MAX_PIXELS, MODES, Container, CutFileError, pack, unpack, unpack_prefix
from weconvene_core.codec.tile_grid import TILE_EDGES, tile_groups
from weconvene_core.errors import CorruptFileError, WeconveneError

SMALL = Container(bytes(range(8)), 768, 512, "RGB", 3.25, (b"hyperprior", b"", b"h"))
DATA = pack(SMALL)
HEADER = 24  # bytes
HEADERS = st.builds(
    Container,
    model_hash=st.binary(min_size=8, max_size=8),
    width=st.integers(1, 1000),
    height=st.integers(1, 1000),
    mode=st.sampled_from(MODES),
    quality=st.floats(0, 65.535),
    exact=st.booleans(),
    icc=st.booleans(),
    tile=st.sampled_from(TILE_EDGES),
    orientation=st.integers(0, 7),
    plain=st.booleans(),
)


@settings(deadline=None, max_examples=50)
@given(HEADERS, st.binary(min_size=200, max_size=300))
def test_round_trip(header: Container, content: bytes) -> None:
    container = replace(header, streams=tuple(content[i : i + i % 7] for i in range(len(header.kinds))))
    data = pack(container)
    assert unpack(data) == container
    tiles = container.tiling[0] * container.tiling[1]
    assert len(data) - sum(map(len, container.streams)) <= 21 + 5 * len(container.kinds)
    assert [len(container.of(kind)) for kind in ("y_lf", "y_hf")] == [tiles] * 2
    groups = len(tile_groups(*header.coded_size[::-1], header.tile))
    assert [len(container.of(kind)) for kind in ("z", "y_ll")] == [groups, groups if header.tile else 0]


@pytest.mark.parametrize("size", [(1, 1), (65535, 1), (1, MAX_PIXELS), (20_000, 20_000), (16383, 16383)])
def test_overhead_is_below_42_bytes(size: tuple[int, int]) -> None:
    """Without tiles, profile and alpha, up to the largest streams that a picture within the usual memory can have."""
    content = (bytes(16_000), bytes((2 << 20) - 1), bytes((2 << 20) - 1))
    data = pack(Container(bytes(8), *size, "RGB", 6.0, content))
    assert (unpack(data).width, unpack(data).height) == size
    assert max(size) >= 1 << 14 or len(data) - sum(map(len, content)) < 42


def test_layout_is_what_format_md_says() -> None:
    header = (
        b"WCV\x04" + b"\x00\x00\x00" + bytes(range(8)) + (3250).to_bytes(2, "little") + b"\x80\x06\x80\x04\x0a\x00\x01"
    )
    first, third = zlib.crc32(header + b"hyperprior"), zlib.crc32(header + b"hyperprior" + b"h")
    assert (
        header + b"hyperprior" + first.to_bytes(4, "little") + first.to_bytes(4, "little") + b"h"
        + third.to_bytes(4, "little") == DATA
    )  # fmt: skip
    everything = Container(bytes(8), 129, 1, "LA", 1.0, (b"",) * 8, exact=True, icc=True, tile=128)
    everything = replace(everything, orientation=5, plain=True)
    assert pack(everything)[4:7] == bytes([3 | 4 | 8 | 1 << 4, 5 | 8, 0])
    assert everything.kinds == ("z", "y_ll", "y_lf", "y_lf", "icc", "alpha", "y_hf", "y_hf")


def test_every_truncation_is_detected_and_keeps_its_whole_streams() -> None:
    for length in range(len(DATA)):
        with pytest.raises(CorruptFileError) as caught:
            unpack(DATA[:length])
        assert is_one_sentence(caught.value)
    with pytest.raises(CutFileError, match="header"):
        unpack_prefix(DATA[: HEADER - 1])
    for length in range(HEADER, len(DATA)):
        prefix = unpack_prefix(DATA[:length])
        assert (prefix.complete, prefix.size) == (False, len(DATA))
        known = len(prefix.container.streams)
        assert prefix.container.streams == SMALL.streams[:known]
        assert SMALL.streams[known].startswith(prefix.cut)
        found = [prefix.stream(kind, 0) for kind in ("z", "y_lf", "y_hf")]
        assert (
            found
            == [(s, False) for s in SMALL.streams[:known]] + [(prefix.cut, True), (b"", True), (b"", True)][: 3 - known]
        )


def test_every_flipped_bit_is_detected() -> None:
    for bit in range(8 * len(DATA)):
        altered = bytearray(DATA)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptFileError) as caught:
            unpack(bytes(altered))
        assert is_one_sentence(caught.value)


def test_a_stream_of_another_file_is_detected() -> None:
    other = pack(replace(SMALL, streams=(b"hyperprioR", b"", b"h")))
    with pytest.raises(CorruptFileError, match="altered"):
        unpack(other[: HEADER + 14] + DATA[HEADER + 14 :])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a WeConvene file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a WeConvene file"),
        (b"WCV\x02" + DATA[4:], "format version 2, this program reads 4: use a matching release"),
        (b"WCV\x03" + DATA[4:], "format version 3, this program reads 4: commit 7644225 decodes it"),
        (DATA[:5] + b"\x10" + DATA[6:], "newer release"),
        (DATA[:6] + b"\x01" + DATA[7:], "newer release"),
        (DATA[:12], "cut inside its header"),
        (DATA[:-5], f"{len(DATA) - 5} of its {len(DATA)} bytes"),
        (DATA[:-1] + b"\x00", "checksum"),
        (DATA + b"more", "4 bytes longer"),
    ],
)
def test_the_sentence_names_the_cause(data: bytes, said: str) -> None:
    with pytest.raises(CorruptFileError, match=said) as caught:
        unpack(data)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    ("place", "replacement"),
    [
        (slice(17, 19), b"\x00\x00"),  # width 0
        (slice(17, 19), b"\x80\x00"),  # width 0, written long
        (slice(17, 21), b"\xff\xff\xff\x7f\x80\x80\x04"),  # too many pixels
        (slice(17, 19), b"\xff" * 30),  # a number without end
        (slice(21, 22), b"\xff\xff\xff\xff\x0f"),  # a stream of 4 GiB
        (slice(4, 5), b"\xf0"),  # an unknown tile size
        (slice(4, 21), b"\x10" + bytes(12) + b"\x80\x80\x80\x80\x02\x01"),  # four million tiles
    ],
)
def test_absurd_headers_with_right_checksums_are_refused_cheaply(place: slice, replacement: bytes) -> None:
    altered = bytearray(DATA)
    altered[place] = replacement
    tracemalloc.start()
    with pytest.raises(CorruptFileError) as caught:
        unpack(with_right_checksums(bytes(altered)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert is_one_sentence(caught.value)
    assert peak < 100_000


@pytest.mark.parametrize(
    "change",
    [
        {"model_hash": bytes(7)}, {"width": 0}, {"height": -1}, {"width": MAX_PIXELS}, {"mode": "CMYK"}, {"tile": 100},
        {"orientation": 8}, {"orientation": -1},
        {"quality": float("nan")}, {"quality": 65.54}, {"quality": -0.1}, {"streams": (b"",) * 4}, {"streams": ()},
    ],
)  # fmt: skip
def test_what_a_file_cannot_hold_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(WeconveneError):
        pack(replace(SMALL, **change))


def test_quality_is_the_same_number_on_both_sides() -> None:
    container = replace(SMALL, quality=10 / 3)
    assert container.quality == unpack(pack(container)).quality == 3.333
