"""The file format: round trips, and every way in which a file can be damaged."""

from __future__ import annotations

import contextlib
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from weconvene_core.codec.container import MAX_PIXELS, MODES, Container, pack, unpack
from weconvene_core.errors import CorruptFileError, WeconveneError

SMALL = Container("lite", bytes(range(8)), 768, 512, "RGB", 3.25, (b"first stream", b"", b"z"))
DATA = pack(SMALL)

CONTAINERS = st.builds(
    Container,
    model=st.from_regex(r"[a-z0-9][a-z0-9._-]{0,31}", fullmatch=True),
    weights_hash=st.binary(min_size=8, max_size=8),
    width=st.integers(1, 1 << 14),
    height=st.integers(1, 1 << 14),
    mode=st.sampled_from(MODES),
    quality=st.floats(0, 65.535),
    streams=st.lists(st.binary(max_size=300), max_size=15).map(tuple),
)


def resealed(data: bytes) -> bytes:
    """Give altered data the right checksum, as a malicious writer would."""
    return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")


def one_sentence(error: BaseException) -> bool:
    text = str(error)
    return text[0].isupper() and text.endswith(".") and "\n" not in text and len(text) < 200


@settings(deadline=None)
@given(CONTAINERS)
def test_round_trip(container: Container) -> None:
    data = pack(container)
    assert unpack(data) == container
    assert len(data) - sum(map(len, container.streams)) <= 26 + len(container.model) + 2 * len(container.streams)


@pytest.mark.parametrize("size", [(1, 1), (65535, 1), (1, 65535), (MAX_PIXELS, 1), (1, MAX_PIXELS), (16384, 16384)])
def test_extreme_sizes(size: tuple[int, int]) -> None:
    assert unpack(pack(Container("lite", bytes(8), *size, "L", 1.0, ()))).width == size[0]


def test_overhead_of_a_usual_file() -> None:
    assert len(pack(Container("lite", bytes(8), 768, 512, "RGB", 6.0, (bytes(20_000),)))) - 20_000 <= 31


def test_layout_is_what_format_md_says() -> None:
    expected = b"WCV\x01" + b"\x30" + b"\x04lite" + bytes(range(8)) + (3250).to_bytes(2, "little")
    expected += b"\x80\x06" + b"\x80\x04" + b"\x0c\x00\x01" + b"first streamz"
    assert expected == DATA[:-4]
    assert DATA[-4:] == zlib.crc32(expected).to_bytes(4, "little")


def test_every_truncation_is_detected() -> None:
    for length in range(len(DATA)):
        with pytest.raises(CorruptFileError) as caught:
            unpack(DATA[:length])
        assert one_sentence(caught.value)


def test_every_flipped_bit_is_detected() -> None:
    for bit in range(8 * len(DATA)):
        altered = bytearray(DATA)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptFileError) as caught:
            unpack(bytes(altered))
        assert one_sentence(caught.value)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a WeConvene file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not a WeConvene file"),
        (b"WCV\x02" + DATA[4:], "version 2"),
        (b"WCV\x00" + DATA[4:], "version 0"),
        (DATA[:-20], "truncated"),
        (DATA[:-1] + b"\x00", "checksum"),
        (DATA + b"more", "4 bytes longer"),
    ],
)
def test_the_sentence_names_the_cause(data: bytes, said: str) -> None:
    with pytest.raises(CorruptFileError, match=said):
        unpack(data)


@pytest.mark.parametrize(
    ("place", "replacement"),
    [
        (slice(20, 22), b"\x00\x00"),  # width 0
        (slice(20, 22), b"\x80\x00"),  # width 0, written long
        (slice(20, 24), b"\xff\xff\xff\x7f\x80\x80\x04"),  # too many pixels
        (slice(20, 22), b"\xff" * 30),  # a number without end
        (slice(24, 25), b"\xff\xff\xff\xff\x0f"),  # a stream of 4 GiB
        (slice(4, 5), b"\x34"),  # an unknown flag
        (slice(4, 5), b"\xf0"),  # more streams than there are
        (slice(6, 10), b"L\xffte"),  # a name that is no name
        (slice(5, 10), b"\x00"),  # an empty name
    ],
)
def test_absurd_headers_with_a_right_checksum_are_refused_cheaply(place: slice, replacement: bytes) -> None:
    altered = bytearray(DATA)
    altered[place] = replacement
    tracemalloc.start()
    with pytest.raises(CorruptFileError) as caught:
        unpack(resealed(bytes(altered)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert one_sentence(caught.value)
    assert peak < 100_000


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.integers(0, 40))
def test_random_bytes_never_crash(noise: bytes, kept: int) -> None:
    with contextlib.suppress(CorruptFileError):
        unpack(resealed(DATA[:kept] + noise))


@pytest.mark.parametrize(
    "change",
    [
        {"model": "Lite"}, {"model": ""}, {"model": "a" * 33}, {"weights_hash": bytes(7)}, {"width": 0}, {"height": -1},
        {"width": MAX_PIXELS}, {"mode": "CMYK"}, {"quality": float("nan")}, {"quality": 65.54}, {"quality": -0.1},
        {"streams": (b"",) * 16},
    ],
)  # fmt: skip
def test_what_a_file_cannot_hold_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(WeconveneError):
        Container(**{**vars(SMALL), **change})


def test_quality_is_the_same_number_on_both_sides() -> None:
    container = Container("lite", bytes(8), 8, 8, "RGB", 10 / 3, ())
    assert container.quality == unpack(pack(container)).quality == 3.333
