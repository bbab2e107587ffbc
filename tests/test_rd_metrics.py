"""PSNR, MS-SSIM and rate on 8-bit pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from lab.rd.metrics import MS_SSIM_MIN_SIDE, bpp, ms_ssim, ms_ssim_db, psnr_rgb
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.errors import WeconveneError

pictures = arrays(np.uint8, (6, 5, 3))


@given(a=pictures, b=pictures)
def test_psnr_agrees_with_scikit_image(a, b):
    if np.array_equal(a, b):
        assert psnr_rgb(a, b) == np.inf
    else:
        assert psnr_rgb(a, b) == pytest.approx(peak_signal_noise_ratio(a, b, data_range=255), rel=1e-12)


def test_psnr_of_a_known_error():
    a = np.full((4, 4, 3), 100, np.uint8)
    b = a.copy()
    b[..., 1] += 3  # one channel of three off by 3: MSE = 3
    assert psnr_rgb(a, b) == pytest.approx(10 * np.log10(255**2 / 3))
    assert psnr_rgb(Image.fromarray(a), Image.fromarray(b)) == psnr_rgb(a, b)


def test_psnr_does_not_wrap_around_in_eight_bits():
    black, white = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)
    assert psnr_rgb(black, white) == 0.0


def test_ms_ssim_falls_with_the_error():
    picture = np.asarray(load_rgb(image_set("default").paths[0]))[:200, :180]
    rng = np.random.default_rng(0)
    noisy = [np.clip(picture + rng.normal(0, s, picture.shape), 0, 255).astype(np.uint8) for s in (4.0, 16.0)]
    assert ms_ssim(picture, picture) == pytest.approx(1.0, abs=1e-6)
    assert 1.0 > ms_ssim(picture, noisy[0]) > ms_ssim(picture, noisy[1]) > 0.5


def test_ms_ssim_needs_a_picture_of_161_pixels():
    rng = np.random.default_rng(0)
    enough = rng.integers(0, 256, (MS_SSIM_MIN_SIDE, MS_SSIM_MIN_SIDE, 3), np.uint8)
    assert np.isfinite(ms_ssim(enough, enough))
    assert np.isnan(ms_ssim(enough[:-1], enough[:-1]))


def test_ms_ssim_in_db():
    assert ms_ssim_db([0.9, 0.99]) == pytest.approx([10.0, 20.0])
    assert ms_ssim_db(1.0) == np.inf


@given(size=st.integers(0, 10**7), width=st.integers(1, 4000), height=st.integers(1, 4000))
def test_bpp_counts_every_bit_of_the_file(size, width, height):
    assert bpp(size, width, height) * width * height == pytest.approx(8 * size)


def test_bad_pictures_and_sizes_get_one_clear_sentence():
    good = np.zeros((4, 4, 3), np.uint8)
    for bad in (good.astype(np.float32), good[..., 0], good[..., :2]):
        with pytest.raises(WeconveneError, match="8-bit RGB"):
            psnr_rgb(good, bad)
    with pytest.raises(WeconveneError, match="differ in size"):
        ms_ssim(good, good[:3])
    with pytest.raises(WeconveneError, match="No rate"):
        bpp(10, 0, 4)
