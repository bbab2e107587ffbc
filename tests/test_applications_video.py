"""Clips in and out: reading, motion, the inter codec with its prior, the DWT along time, and other people's codecs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from lab.applications import motion, video_rd
from lab.applications import prior as priors
from lab.applications.clip_codecs import (
    InterCodec,
    TemporalCodec,
    frame_of,
    latent_of,
    pack_vectors,
    read,
    unpack_vectors,
    write,
)
from lab.applications.clips import Clip, clips, load_clip, moved_photograph, moving_pairs
from lab.applications.study import with_weconv
from weconvene_core.errors import CorruptFileError, WeconveneError
from weconvene_core.image_tensors import from_8_bit
from weconvene_core.layers import WeConvSpec
from weconvene_core.model.presets import preset
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.training.config import Stage


@pytest.fixture(scope="module")
def model() -> WeConvene:
    """An untrained codec: by its wavelet shortcut it is one all the same."""
    torch.manual_seed(0)
    network = WeConvene(preset("tiny")).eval()
    network.set_scales_from(from_8_bit(moved_photograph(1, (128, 128)).frames[0]))
    network.update(force=True)
    return network


@pytest.fixture(scope="module")
def prior(model: WeConvene) -> priors.Prior:
    torch.manual_seed(1)
    return with_weconv(priors.Prior(model, 8), WeConvSpec("5/3", 1)).eval()


@pytest.fixture(scope="module")
def clip() -> Clip:
    return moved_photograph(3, (75, 101))


# --- reading ---------------------------------------------------------------------------------------------------------


def y4m(width: int, height: int, frames: list[bytes], colour: str = "420") -> bytes:
    head = f"YUV4MPEG2 W{width} H{height} F25:1 Ip A1:1 C{colour}\n".encode()
    return head + b"".join(b"FRAME\n" + frame for frame in frames)


def test_raw_video_of_odd_size_is_read(tmp_path: Path) -> None:
    width, height = 5, 3
    grey = bytes([126]) * 15 + bytes([128]) * 12  # Y of mid-grey: (126 - 16) / 219 of 255 = 128
    blue = bytes([32]) * 15 + bytes([240]) * 6 + bytes([118]) * 6  # BT.709's pure blue
    path = tmp_path / "two.y4m"
    path.write_bytes(y4m(width, height, [grey, blue]))
    found = load_clip(path, 9)
    assert found.frames.shape == (2, 3, 5, 3)
    assert (found.frames[0] == 128).all()
    assert np.abs(found.frames[1].astype(int) - [0, 0, 255]).max() <= 2


def test_unreadable_clips_are_named(tmp_path: Path) -> None:
    whole = bytes(4 * 4 * 3 // 2)
    cases = {
        "noise.y4m": (b"not a video", "no y4m video"),
        "sizeless.y4m": (b"YUV4MPEG2 Wx H4 C420\n", "no y4m video"),
        "deep.y4m": (y4m(4, 4, [whole], "420p10"), "8 bits"),
        "cut.y4m": (y4m(4, 4, [whole, whole[:-1]]), "frame 1"),
        "one.y4m": (y4m(4, 4, [whole]), "2 or more"),
    }
    for name, (data, message) in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(WeconveneError, match=message):
            load_clip(tmp_path / name, 9)
    with pytest.raises(WeconveneError, match="cannot be read"):
        load_clip(tmp_path / "absent.y4m", 9)


def test_folders_of_frames_must_have_one_size_and_two_frames(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "0.png")
    with pytest.raises(WeconveneError, match="2 or more"):
        load_clip(tmp_path, 9)
    Image.new("RGB", (8, 7)).save(tmp_path / "1.png")
    with pytest.raises(WeconveneError, match="2 sizes"):
        load_clip(tmp_path, 9)
    Image.new("RGB", (8, 6)).save(tmp_path / "1.png")
    assert load_clip(tmp_path, 9).frames.shape == (2, 6, 8, 3)


def test_without_clips_a_moved_photograph_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WECONVENE_DATA", raising=False)
    with pytest.warns(UserWarning, match="y4m.*embedded default"):
        (found,) = clips(2)
    assert "photograph" in found.name


# --- motion ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [(7, -3), (-18, 11)])
def test_motion_finds_a_shift(shift: tuple[int, int]) -> None:
    picture = from_8_bit(moved_photograph(1, (112, 128)).frames[0])
    moved = torch.roll(picture, shift, (3, 2))  # what was at p is now at p + shift
    vectors = motion.estimate(picture, moved)[:, 2:-2, 2:-2]
    off = (vectors + 4 * torch.tensor(shift)[:, None, None]).abs()
    assert (off <= 1).float().mean() > 0.9  # a quarter of a pixel: smooth blocks cannot tell


def test_motion_between_pixels_beats_the_frame_as_it_stands(clip: Clip) -> None:
    first, second = (from_8_bit(frame) for frame in clip.frames[:2])
    vectors = motion.estimate(first, second)
    assert motion.mean_length(vectors) == pytest.approx(0.84, abs=0.4)
    errors = [(each - second).square().mean() for each in (first, motion.compensate(first, vectors))]
    assert errors[1] < errors[0] / 3


def test_vectors_come_back() -> None:
    vectors = torch.randint(-100, 100, (2, 5, 7), generator=torch.Generator().manual_seed(0))
    for each in (vectors, torch.zeros_like(vectors)):
        assert torch.equal(unpack_vectors(pack_vectors(each), (5, 7)), each)
    with pytest.raises(CorruptFileError):
        unpack_vectors(b"", (5, 7))


# --- frames, clips, files --------------------------------------------------------------------------------------------


def test_without_context_a_frame_is_coded_as_a_picture(model: WeConvene, clip: Clip) -> None:
    x, at = from_8_bit(clip.frames[0]), torch.tensor([3.0])
    streams, latent = write(model, latent_of(model, x, at), at)
    strings = [group[0] for group in model.compress(x, 3.0)["strings"]]
    assert streams == [strings[2], *strings[:2]]
    again = read(model, streams, (75, 101), at)
    assert all(torch.equal(a, b) for a, b in zip(latent, again, strict=True))
    assert frame_of(model, again, (75, 101), at).shape == (1, 3, 75, 101)


def test_inter_files_come_back_and_save_bits(model: WeConvene, prior: priors.Prior, clip: Clip) -> None:
    codec, intra = InterCodec("inter", model, prior), InterCodec("intra", model)
    points = [video_rd.measure(each, clip, (2.0, 4.0)) for each in (intra, codec)]
    assert (points[1].bytes < 0.95 * points[0].bytes).all()
    assert (points[1].psnr_db > points[0].psnr_db - 0.3).all()
    assert points[0].psnr_db[1] > points[0].psnr_db[0] > 20


def test_decoder_repeats_the_encoder(model: WeConvene, prior: priors.Prior, clip: Clip) -> None:
    """Drift would show as a difference that grows from frame to frame."""
    codec = InterCodec("inter", model, prior)
    data = codec.encode(clip.frames, 4.0)
    assert np.array_equal(codec.decode(data), codec.decode(data))
    whole = codec.decode(data).astype(int)
    errors = [np.square(a - b).mean() for a, b in zip(whole, clip.frames.astype(int), strict=True)]
    assert max(errors) < 1.5 * min(errors)


@pytest.mark.parametrize(("wavelet", "levels"), [("haar", 1), ("5/3", 2)])
def test_files_of_the_dwt_along_time_come_back(model: WeConvene, clip: Clip, wavelet: str, levels: int) -> None:
    codecs = TemporalCodec("time", model, wavelet, levels), InterCodec("intra", model)
    ours, alone = (video_rd.measure(codec, clip, (1.0, 3.0)) for codec in codecs)
    assert (ours.psnr_db > alone.psnr_db - 0.5).all()
    assert ours.bytes[0] < ours.bytes[1]


def test_damaged_and_foreign_clips_are_refused(model: WeConvene, prior: priors.Prior, clip: Clip) -> None:
    codec, time = InterCodec("inter", model, prior), TemporalCodec("time", model, "haar", 1)
    for each in (codec, time):
        data = each.encode(clip.frames[:2], 2.0)
        for bad in (data[:-1], data + b"x", data[:7], b"JUNK" + data[4:]):
            with pytest.raises(CorruptFileError):
                each.decode(bad)
        with pytest.raises(WeconveneError, match="cannot be coded"):
            each.encode(clip.frames[:0], 2.0)
    with pytest.raises(CorruptFileError, match="other settings"):
        InterCodec("intra", model).decode(codec.encode(clip.frames[:2], 2.0))


# --- the prior -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_prior_learns_from_moving_photographs(model: WeConvene) -> None:
    photo = torch.from_numpy(np.ascontiguousarray(moved_photograph(1, (160, 220)).frames[0]))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    samples = priors.photograph_samples(model, [photo], 6, 64)
    torch.manual_seed(0)
    prior = priors.Prior(model, 8)
    start = priors.saving(prior.eval(), model, samples)
    priors.train_prior(prior, model, samples, Stage("short", 40, 1e-2, 1e-3, batch=4, crop=64, warmup=2), 0)
    assert priors.saving(prior, model, samples) > start + 0.5
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_moving_pairs_move_little_and_stay_in_range() -> None:
    photo = torch.from_numpy(np.ascontiguousarray(moved_photograph(1, (160, 220)).frames[0]))
    pairs = list(moving_pairs([photo], 4, 64, np.random.default_rng(0)))
    assert all(pair.shape == (2, 3, 64, 64) and 0 <= pair.min() <= pair.max() <= 1 for pair in pairs)
    assert all(0 < (pair[0] - pair[1]).abs().mean() < 0.2 for pair in pairs)


# --- other codecs, BD-rates ------------------------------------------------------------------------------------------


def test_ffmpeg_codes_the_clip_where_it_is_installed(clip: Clip) -> None:
    if not video_rd.video_codecs():
        pytest.skip("there is no ffmpeg here")
    for codec in video_rd.video_codecs():
        points = video_rd.measure(codec, clip, (20.0, 34.0))
        assert points.psnr_db[0] > points.psnr_db[1] + 3
        assert points.psnr_db[0] > 35
        assert points.bytes[0] > points.bytes[1] > 50
        with pytest.raises(WeconveneError, match="ffmpeg cannot do"):
            codec.decode(b"no stream")


def test_bd_rates_against_an_anchor(model: WeConvene, clip: Clip) -> None:
    points = video_rd.measure(InterCodec("intra", model), clip, (1.0, 2.0, 3.0, 4.0))
    half = points.assign(codec="half", bpp=points.bpp / 2)
    assert video_rd.bd_rates(pd.concat([points, half]), "intra").bd_rate_pct[0] == pytest.approx(-50)
    beyond = half.assign(psnr_db=half.psnr_db + 50)
    assert np.isnan(video_rd.bd_rates(pd.concat([points, beyond]), "intra").bd_rate_pct[0])
    with pytest.raises(WeconveneError, match="not measured"):
        video_rd.bd_rates(half, "intra")


def test_bd_rates_by_ms_ssim_need_frames_that_are_large_enough(model: WeConvene, clip: Clip) -> None:
    codec, knobs = InterCodec("intra", model), (1.0, 2.0, 3.0, 4.0)
    small = video_rd.measure(codec, clip, knobs)
    assert small.ms_ssim.isna().all()
    large = video_rd.measure(codec, moved_photograph(2, (176, 176)), knobs)
    assert large.ms_ssim.between(0, 1).all()
    assert large.frames.eq(2).all()
    for points, expected in ((small, float("nan")), (large, -50)):
        half = points.assign(codec="half", bpp=points.bpp / 2)
        rates = video_rd.bd_rates(pd.concat([points, half]), "intra")
        assert rates.ms_ssim_bd_rate_pct[0] == pytest.approx(expected, nan_ok=True)
        assert rates.frames[0] == points.frames[0]
