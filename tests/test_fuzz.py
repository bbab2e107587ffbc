"""Damaged files end in a clean refusal or in a picture, never in garbage without a word, a crash or a hang.

``FUZZ_EXAMPLES=5000 make test-all ARGS=tests/test_fuzz.py`` tries more of them. Checksums stop accidents before any
network runs, so half of the files get the checksums of an honest writer after they were damaged. Such a file may decode
to another picture of the stated size; a file whose checksums were left alone must not.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from datetime import timedelta
from functools import cache

import pytest
from damaged_files import with_right_checksums
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from weconvene_core.codec import api
from weconvene_core.codec.container import MAGIC, MODES, Container, CutFileError, pack, unpack, unpack_prefix
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.codec.tile_grid import TILE_EDGES
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.errors import CorruptFileError, WeconveneError

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "60"))
HUNG = timedelta(seconds=20)
HEADER_BYTES, MOST_STREAMS = 30, 100
SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
fuzzed = settings(max_examples=EXAMPLES, deadline=HUNG, suppress_health_check=SLOW)


@cache
def corpus() -> list[bytes]:
    """Encode small pictures of every sort: three qualities, grey, alpha, a colour profile, tiles, floating point."""
    photo = load_rgb(image_set("default", 1).paths[0])
    small = photo.crop((60, 60, 108, 92))
    alpha = small.convert("LA")
    alpha.putalpha(Image.linear_gradient("L").resize(small.size))
    profiled = small.resize((20, 33))
    profiled.info["icc_profile"] = bytes(range(256))
    files = [api.encode(small, quality) for quality in (1, 3.3, 6)]
    files += [api.encode(picture, 4) for picture in (small.convert("L"), alpha, profiled)]
    return [*files, api.encode(photo.crop((0, 0, 150, 40)), 2, tile=128), api.encode(small, 5, exact=False)]


@cache
def pictures() -> set[bytes]:
    return {api.decode(data).tobytes() for data in corpus()}


@cache
def headers() -> list[bytes]:
    """Small whole files of every mode, with and without a profile and tiles; their streams hold no coded data."""
    kinds = [Container(bytes(8), 300, 200, mode, 3.0, icc=icc, tile=tile, exact=icc)
             for mode in MODES for icc in (False, True) for tile in (0, 128)]  # fmt: skip
    return [pack(Container(**{**vars(h), "streams": tuple(map(str.encode, h.kinds))})) for h in kinds]


@st.composite
def damaged(draw: st.DrawFn, files: list[bytes]) -> bytes:
    """A file with flipped bits, other bytes at a place, its end missing, or another file's end."""
    data = bytearray(draw(st.sampled_from(files)))
    place = st.integers(0, len(data) - 1)
    how = draw(st.sampled_from(["bits", "bytes", "header", "cut", "splice", "noise"]))
    if how == "bits":
        for bit in draw(st.lists(st.integers(0, 8 * len(data) - 1), min_size=1, max_size=8)):
            data[bit // 8] ^= 1 << bit % 8
    elif how == "bytes":
        start, other = draw(place), draw(st.binary(min_size=1, max_size=200))
        data[start : start + len(other)] = other
    elif how == "header":
        for at in draw(st.lists(st.integers(len(MAGIC), HEADER_BYTES - 1), min_size=1, max_size=4)):
            data[at] = draw(st.integers(0, 255))
    elif how == "noise":
        data[draw(st.integers(0, HEADER_BYTES + 20)) :] = draw(st.binary(max_size=400))
    else:
        end = draw(st.sampled_from(files)) if how == "splice" else b""
        data[draw(place) :] = end[draw(st.integers(0, len(end))) :]
    return bytes(data)


@st.composite
def forged(draw: st.DrawFn) -> bytes:
    """A valid container that states another size or other tiles, or has other streams, in any order."""
    container = unpack(draw(st.sampled_from(corpus())))
    streams = list(container.streams)
    if draw(st.booleans()):
        streams[draw(st.integers(0, len(streams) - 1))] = draw(st.binary(max_size=1000))
        streams = draw(st.permutations(streams))
        return pack(replace(container, streams=tuple(streams)))
    width, height = (int(2 ** draw(st.floats(0, 20))) for _ in range(2))
    try:
        other = replace(container, width=width, height=height, tile=draw(st.sampled_from(TILE_EDGES)), streams=())
    except WeconveneError:  # more pixels than a file may state
        assume(False)
    if len(other.kinds) > MOST_STREAMS:  # each tile is a real one, and takes its time
        other = replace(other, tile=0)
    streams = [streams[i % len(streams)] for i in range(len(other.kinds))]
    return pack(replace(other, streams=tuple(streams)))


def decoded(data: bytes) -> Image.Image | None:
    """Decode a file, or preview it where it is cut; None where it is refused. Other errors pass."""
    try:
        return api.decode(data)
    except CutFileError:
        with contextlib.suppress(WeconveneError):
            api.preview(data, api.ALL)
    except WeconveneError:
        pass
    return None


@fuzzed
@given(st.data())
def test_damage_is_noticed(data: st.DataObject) -> None:
    image = decoded(data.draw(damaged(corpus())))
    assert image is None or image.tobytes() in pictures()


@fuzzed
@given(st.data())
def test_damage_behind_right_checksums_is_refused_or_decoded(data: st.DataObject) -> None:
    decoded(with_right_checksums(data.draw(damaged(corpus()))))


@fuzzed
@given(st.data())
def test_forged_containers_are_refused_or_decoded_at_their_stated_size(data: st.DataObject) -> None:
    file = data.draw(forged())
    image = decoded(file)
    assert image is None or sorted(image.size) == sorted((unpack(file).width, unpack(file).height))


@settings(max_examples=5 * EXAMPLES, deadline=None)
@given(st.data())
def test_the_parser_accepts_what_pack_writes_and_nothing_else(data: st.DataObject) -> None:
    file = data.draw(st.one_of(st.sampled_from(headers()), damaged(headers()), st.binary(max_size=200)))
    for candidate in (file, with_right_checksums(file)):
        try:
            prefix = unpack_prefix(candidate)
        except CorruptFileError:
            continue
        assert prefix.complete == (prefix.size == len(candidate))
        assert not prefix.complete or pack(prefix.container) == candidate


def test_refusals_are_value_errors() -> None:
    with pytest.raises(ValueError, match="altered") as caught:
        api.decode(corpus()[0][:-1] + b"\x00")
    assert isinstance(caught.value, CorruptFileError)
