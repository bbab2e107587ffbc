"""Rate and distortion by real files, with a codec of Pillow in the place of the learned one."""

import io
import multiprocessing
import os
import sys
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lab.paths import save_table
from lab.rd import measure as measuring
from lab.rd.curves import MEAN, POINT_COLUMNS, averaged_curve, image_curves
from lab.rd.measure import free_memory_mb, measure, workers
from lab.rd.metrics import ms_ssim, ms_ssim_db, psnr_rgb
from lab.rd.pillow_codecs import JPEG, WEBP
from lab.rd.tables import bd_table
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.datasets.image_sets import folder_set, image_set
from weconvene_core.errors import WeconveneError

QUALITIES = (10, 25, 50, 75, 90)


@dataclass(frozen=True)
class Witness:
    """JPEG that notes which process started the worker, and whether the learned codec was imported before it came."""

    folder: str

    def encode(self, image: Image.Image, quality: float) -> bytes:
        ready = "weconvene_core.codec.api" in sys.modules
        with open(os.path.join(self.folder, str(os.getpid())), "w") as note:
            note.write(f"{os.getppid()} {ready}")
        return JPEG.encode(image, quality)

    def decode(self, data: bytes) -> Image.Image:
        return JPEG.decode(data)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Three crops of default photographs, big enough for MS-SSIM."""
    folder = tmp_path_factory.mktemp("crops")
    for path in image_set("default").paths[:3]:
        load_rgb(path).crop((100, 60, 292, 240)).save(folder / f"{path.stem}.png")
    return folder_set(folder)


@pytest.fixture(scope="module")
def jpeg(images):
    return measure(JPEG, "JPEG", images, QUALITIES)


@pytest.fixture(scope="module")
def points(images, jpeg):
    return pd.concat([jpeg, measure(WEBP, "WebP", images, QUALITIES)], ignore_index=True)


@pytest.mark.slow
@pytest.mark.skipif("forkserver" not in multiprocessing.get_all_start_methods(), reason="no fork on this system")
def test_all_pools_start_from_one_process_that_has_imported_the_libraries(images, tmp_path):
    for _ in range(2):
        measure(Witness(str(tmp_path)), "JPEG", images, QUALITIES, processes=2)
    notes = {note.name: note.read_text().split() for note in tmp_path.iterdir()}
    assert len(notes) >= 2  # each pool has workers of its own
    (server,) = {parent for parent, _ in notes.values()}
    assert int(server) != os.getpid()
    assert {ready for _, ready in notes.values()} == {"True"}


def test_every_row_is_what_the_file_says(images, jpeg):
    assert list(jpeg.columns) == POINT_COLUMNS
    assert len(jpeg) == (3 + 1) * len(QUALITIES)
    for row in jpeg[jpeg.image != MEAN].iloc[::4].itertuples():
        original = load_rgb(next(path for path in images.paths if path.name == row.image))
        data = JPEG.encode(original, row.quality)
        decoded = Image.open(io.BytesIO(data)).convert("RGB")
        assert row.bpp == 8 * len(data) / (192 * 180)
        assert row.psnr_db == psnr_rgb(original, decoded)
        assert row.ms_ssim == pytest.approx(ms_ssim(original, decoded), abs=1e-6)
        assert row.encode_s > 0.0
        assert row.decode_s > 0.0


def test_mean_rows_and_curves_are_means_over_images(jpeg):
    per_image = jpeg[jpeg.image != MEAN].groupby("quality")
    curve = averaged_curve(jpeg, "JPEG")
    assert curve.bpp == pytest.approx(per_image.bpp.mean().to_numpy())
    assert curve.value == pytest.approx(per_image.psnr_db.mean().to_numpy())
    in_db = averaged_curve(jpeg, "JPEG", "ms_ssim_db")
    assert in_db.value == pytest.approx(ms_ssim_db(per_image.ms_ssim.mean()))  # dB of the mean, not mean of dB
    assert image_curves(jpeg, "JPEG", "ms_ssim_db").averaged().value == pytest.approx(in_db.value)


def test_small_pictures_have_psnr_but_no_ms_ssim(tmp_path, images):
    load_rgb(images.paths[0]).crop((0, 0, 64, 48)).save(tmp_path / "a_small.png")
    load_rgb(images.paths[0]).save(tmp_path / "big.png")
    table = measure(JPEG, "JPEG", folder_set(tmp_path), QUALITIES)
    means = table[table.image == MEAN]
    assert np.isfinite(means.psnr_db).all()
    assert means.ms_ssim.isna().all()  # a mean over the big one alone would be another set's
    with pytest.raises(WeconveneError, match="not finite"):
        averaged_curve(table, "JPEG", "ms_ssim_db")


def test_measurements_with_a_state_are_kept(images, jpeg, tmp_path):
    first = measure(JPEG, "JPEG", images, QUALITIES, state="a", folder=tmp_path)
    assert measure(JPEG, "JPEG", images, QUALITIES, state="a", folder=tmp_path).equals(first)
    other = measure(JPEG, "JPEG", images, QUALITIES, state="b", folder=tmp_path)
    assert not other.equals(first)  # the times differ: it was measured anew
    assert other.psnr_db.equals(jpeg.psnr_db)


def test_there_are_as_many_workers_as_memory_allows_and_one_in_any_case(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    for free, wanted in ((100.0, 1), (2.9 * measuring.WORKER_MB, 1), (5.1 * measuring.WORKER_MB, 4), (1e6, 8)):
        monkeypatch.setattr(measuring, "free_memory_mb", lambda free=free: free)
        assert workers() == wanted


def test_a_containers_limit_counts_and_what_it_may_drop_is_free(tmp_path):
    machine = free_memory_mb(tmp_path)  # there are no such files: no container
    assert machine > 0
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory_mb(tmp_path) == pytest.approx(machine, rel=0.2)
    (tmp_path / "memory.max").write_text(f"{50 << 20}\n")
    (tmp_path / "memory.current").write_text(f"{45 << 20}\n")
    (tmp_path / "memory.stat").write_text(f"anon 1\ninactive_file {2 << 20}\n")
    assert free_memory_mb(tmp_path) == 7.0
    (tmp_path / "memory.current").write_text(f"{60 << 20}\n")
    assert free_memory_mb(tmp_path) == 0.0


class Shrinking:
    """A codec that loses a row of pixels."""

    def encode(self, image, quality):
        return JPEG.encode(image.crop((0, 0, image.width, image.height - 1)), quality)

    def decode(self, data):
        return JPEG.decode(data)


def test_bad_measurements_get_one_clear_sentence(images, jpeg, points):
    with pytest.raises(WeconveneError, match="differ in size"):
        measure(Shrinking(), "shrinking", images, QUALITIES)
    with pytest.raises(WeconveneError, match="at least one quality|one image and one quality"):
        measure(JPEG, "JPEG", images, [])
    with pytest.raises(WeconveneError, match="measured codecs are JPEG"):
        averaged_curve(jpeg, "WebP")
    uneven = jpeg.drop(index=0)
    with pytest.raises(WeconveneError, match="same qualities on all images"):
        image_curves(uneven, "JPEG")
    two = pd.concat([jpeg, jpeg.assign(dataset="other")])
    with pytest.raises(WeconveneError, match="holds 2 datasets"):
        averaged_curve(two, "JPEG")
    assert len(averaged_curve(two, "JPEG", dataset="other")) == len(QUALITIES)


def test_two_runs_over_the_same_measurements_write_the_same_bytes(images, tmp_path, own_results):
    written = []
    for run in ("first", "second"):
        kept = [measure(c, c.name, images, QUALITIES, c.state(), tmp_path / "kept") for c in (JPEG, WEBP)]
        points = pd.concat(kept, ignore_index=True).replace({"codec": {JPEG.name: "JPEG"}})
        tables = {f"{run}_points": points, f"{run}_bd_rate": bd_table(points, ["JPEG"], samples=20)}
        written.append([save_table(table, name).read_bytes() for name, table in tables.items()])
    assert written[0] == written[1]
