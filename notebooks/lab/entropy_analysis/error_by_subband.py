"""Where the bits and the error of ``lite`` are: by slice, subband, rate and image, beside codecs at equal bytes.

``python -m lab.entropy_analysis.error_by_subband`` measures on photographs of the training folder that are kept out of
training, never on test images, and writes ``results/tables/diagnosis_*.csv`` in about a minute.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy.interpolate import PchipInterpolator

from lab.entropy_analysis.scale_calibration import calibration_table
from lab.entropy_analysis.slice_bits import as_input, channel_table, coded_slices
from lab.paths import save_table
from lab.rd.metrics import PEAK, bpp
from lab.rd.pillow_codecs import JPEG_2000, PillowCodec, avif
from lab.studies.runner import training_images
from lab.wavelet_analysis.energy_compaction import weighted_bands
from weconvene_core.codec.api import decode, encode, load_model
from weconvene_core.image_tensors import middle
from weconvene_core.layers.wavelet_shortcut import LEVELS, WAVELET, colour_matrix
from weconvene_core.model.weconvene import WeConvene
from weconvene_core.wavelets import dwt2d

QUALITIES = (1.0, 3.0, 5.0)
PHOTOGRAPHS, SIDE = 8, 512
# lower ends than in the rate-distortion curves: quality 1 of an easy photograph lies there
CODECS = (
    replace(JPEG_2000, qualities=(600, 380, *JPEG_2000.qualities)),
    replace(avif(), qualities=(0, 3, *avif().qualities)),
)
ALL, TINY = "all", 1e-9
BY_BAND = ["subband", "colour"]


def photographs() -> list[np.ndarray]:
    """Return the middles (512x512 at most) of eight photographs, evenly spread over those kept out of training."""
    kept_out = training_images().validation
    return [middle(image, SIDE) for image in kept_out[:: max(1, len(kept_out) // PHOTOGRAPHS)][:PHOTOGRAPHS]]


def band_errors(original: np.ndarray, decoded: np.ndarray) -> pd.Series:
    """Split the squared error per sample of a picture (H, W, 3) uint8 by subband (9/7, three levels) and colour.

    Luma is the first component of the codec's own orthonormal colour transform, chroma the other two. Each band counts
    by the norm of its synthesis functions, and all are stretched together by the few percent that are missing, since
    9/7 is not quite orthonormal: the parts add up to the picture's error, the entry (all, all).
    """
    error = torch.from_numpy(decoded.astype(np.float64) - original).permute(2, 0, 1)  # (H, W, 3) -> (3, H, W)
    components = torch.einsum("ij,jhw->ihw", colour_matrix().double(), error)
    parts: dict[tuple[str, str], float] = {}
    for band, values in weighted_bands(dwt2d(components, WAVELET, LEVELS)).items():
        squares = values.square().sum((1, 2)) / error.numel()
        parts |= {(band, "luma"): squares[0].item(), (band, "chroma"): squares[1:].sum().item()}
    whole, stretch = error.square().mean().item(), max(sum(parts.values()), TINY)
    split = pd.Series(parts) * whole / stretch
    split[ALL, ALL] = whole
    return split.rename_axis(BY_BAND)


def coded_by(codec: PillowCodec, picture: np.ndarray) -> dict[int, pd.Series]:
    """Code a picture at all qualities of a codec; return :func:`band_errors` by bytes of the file, in rising order."""
    coded = {}
    for quality in codec.qualities:
        data = codec.encode(Image.fromarray(picture), quality)
        coded[len(data)] = band_errors(picture, np.asarray(codec.decode(data)))
    return dict(sorted(coded.items()))


def at_bytes(curve: Mapping[int, pd.Series], size: int) -> pd.Series:
    """Interpolate the errors of every band at so many bytes (PCHIP over logarithms); nan outside the curve."""
    errors = pd.DataFrame(curve).T
    found = PchipInterpolator(np.log(errors.index), np.log(errors.clip(lower=TINY)), extrapolate=False)(np.log(size))
    return pd.Series(np.exp(found), index=errors.columns)


def compare(
    pictures: Sequence[np.ndarray], qualities: Sequence[float] = QUALITIES, codecs: Sequence[PillowCodec] = CODECS
) -> pd.DataFrame:
    """Return the errors of ``lite``'s files and of other codecs at equal bytes per picture.

    Columns picture, quality, bpp, anchor, subband, colour, mse, anchor_mse; pictures whose files are smaller or larger
    than any that the codec was asked for are left out.
    """
    tables = []
    for number, picture in enumerate(pictures):
        curves = {codec.name: coded_by(codec, picture) for codec in codecs}
        for quality in qualities:
            data = encode(picture, quality)
            errors, rate = band_errors(picture, np.asarray(decode(data))), bpp(len(data), *picture.shape[1::-1])
            for name, curve in curves.items():
                rows = pd.DataFrame({"mse": errors, "anchor_mse": at_bytes(curve, len(data))}).reset_index()
                tables.append(rows.assign(picture=number, quality=quality, bpp=rate, anchor=name))
    return pd.concat(tables, ignore_index=True).dropna()


def image_table(compared: pd.DataFrame) -> pd.DataFrame:
    """Return per picture, quality and anchor the PSNR of both and the gain in dB at equal bytes."""
    table = compared[compared.subband == ALL].drop(columns=BY_BAND)
    ours, theirs = (10 * np.log10(PEAK**2 / table[name]) for name in ("mse", "anchor_mse"))
    table = table.assign(psnr_db=ours, anchor_psnr_db=theirs, gain_db=ours - theirs)
    columns = ["anchor", "quality", "picture", "bpp", "psnr_db", "anchor_psnr_db", "gain_db"]
    return table[columns].sort_values(columns[:3])


def subband_errors(compared: pd.DataFrame) -> pd.DataFrame:
    """Return by anchor, quality, colour and subband the mean errors and ``excess_pct``.

    That is how much more error ours has here, in percent of *all* the anchor's error: negative where we gain. The
    parts of one anchor and quality add up to the row ``all``, but for what interpolation leaves (well under a point).
    """
    means = compared.groupby(["anchor", "quality", "colour", "subband"], sort=False)[["mse", "anchor_mse"]].mean()
    whole = means.xs((ALL, ALL), level=("colour", "subband")).anchor_mse
    excess = 100 * (means.mse - means.anchor_mse) / whole
    return means.assign(excess_pct=excess).reset_index()


def bits(
    model: WeConvene, pictures: Sequence[np.ndarray], qualities: Sequence[float] = QUALITIES
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return where the estimated bits go, of all pictures together: by quality and slice, and by quality and band.

    Bands are those of the three-level pyramid, by colour; what lies inside its LL band counts as that.
    """
    pixels, tables = sum(picture.shape[0] * picture.shape[1] for picture in pictures), []
    for quality in qualities:
        for picture in pictures:
            with torch.no_grad():
                chances = model(as_input(model, picture), quality)["likelihoods"]["z"]
            of_z = pd.DataFrame({"slice": ["z"], "bits": -chances.log2().sum().item()})
            of_y = channel_table(coded_slices(model, picture, quality), model.config)
            tables += [of_z.assign(quality=quality), of_y.assign(quality=quality)]
    table = pd.concat(tables)
    bands = table[table["slice"] != "z"]
    inside = bands.subband.str[-1].astype(int) > LEVELS
    bands = bands.assign(subband=bands.subband.mask(inside, f"LL{LEVELS}"))
    return _shares(table, ["slice"], pixels), _shares(bands, BY_BAND, pixels)


def _shares(table: pd.DataFrame, keys: list[str], pixels: int) -> pd.DataFrame:
    """Sum up bits by quality and keys: bits per pixel, and percent of the quality's bits."""
    bpp = table.groupby(["quality", *keys], sort=False).bits.sum() / pixels
    return pd.DataFrame({"bpp": bpp, "share_pct": 100 * bpp / bpp.groupby("quality").transform("sum")}).reset_index()


def main() -> None:
    """Measure and write the four tables."""
    pictures, model = photographs(), load_model()
    compared = compare(pictures)
    by_slice, by_band = bits(model, pictures)
    errors = subband_errors(compared).merge(by_band, how="left", on=["quality", *BY_BAND])
    tables = {
        "images": image_table(compared), "subbands": errors, "slices": by_slice,
        "calibration": calibration_table(model, pictures, QUALITIES),
    }  # fmt: skip
    for name, table in tables.items():
        if name != "images":  # which has a row for each of them
            table["images"] = len(pictures)
        save_table(table, f"diagnosis_{name}", 5)
    print(tables["images"].groupby(["anchor", "quality"]).gain_db.describe().round(2).to_string())


if __name__ == "__main__":
    main()
