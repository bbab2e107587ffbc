"""How training images and states travel and are drawn: squares on the device, packs of images, states in parts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from weconvene_core.errors import WeconveneError
from weconvene_core.model.checkpoint import STATE, read_tensors
from weconvene_core.training import travel
from weconvene_core.training.config import Stage, TrainConfig
from weconvene_core.training.crops import Crop, Sampler, cut, draw_crops, on_device
from weconvene_core.training.distributed import ProcessGroup
from weconvene_core.training.images import VALIDATION_EVERY, ImagePool, load_pool
from weconvene_core.training.packs import PackedImages, write_packs
from weconvene_core.training.run import load_images
from weconvene_core.training.trainer import Trainer

CPU = torch.device("cpu")
PHASE = Stage("p", 4, 1e-3, 1e-4, batch=8, crop=32, warmup=1)


def ramp(height: int, width: int) -> np.ndarray:
    """Every pixel tells its row and column."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y, x, np.zeros_like(y)], axis=2).astype(np.uint8)


def test_squares_keep_their_pixels_in_all_eight_orientations() -> None:
    image = ramp(50, 60)
    square = torch.from_numpy(image[7:39, 11:43]).permute(2, 0, 1)
    turned = [torch.rot90(square, turns, (1, 2)) for turns in range(4)]
    expected = {tuple(s.flatten().tolist()) for t in turned for s in (t, t.flip(2))}
    batch = cut(on_device([image], 32, CPU), [Crop(0, 7, 11, 32, number) for number in range(8)], 32)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert {tuple((255 * s).round().int().flatten().tolist()) for s in batch} == expected


def folders(root: Path, monkeypatch: pytest.MonkeyPatch) -> TrainConfig:
    """Two folders of five small pictures each, a list of two of them, and the configuration that names all."""
    monkeypatch.setenv("WECONVENE_DATA", str(root))
    rng = np.random.default_rng(0)
    for folder in ("one", "two"):
        (root / folder).mkdir()
        for name in "abcde":
            Image.fromarray(rng.integers(256, size=(40, 48, 3), dtype=np.uint8)).save(root / folder / f"{name}.png")
    (root / "kept.csv").write_text("folder,file\ntwo,c.png\none,b.png\nelsewhere,x.png\n")
    phases = (PHASE,)
    return TrainConfig("tiny", phases, str(root / "out"), images=("one", "two"), validation=str(root / "kept.csv"))


def test_a_list_says_what_validates_whatever_the_folders_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = folders(tmp_path, monkeypatch)
    pool = load_images(config)
    assert len(pool.train) == 8
    assert list(pool.validation_sets) == ["two", "one"]
    assert np.array_equal(pool.validation_sets["one"][0], np.array(Image.open(tmp_path / "one" / "b.png")))
    Image.fromarray(ramp(40, 48)).save(tmp_path / "one" / "aa.png")  # another picture moves every 40th, not the list
    more = load_images(config)
    assert len(more.train) == 9
    assert np.array_equal(more.validation[1], pool.validation[1])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("missing", r"kept\.csv cannot be read"),
        ("columns", "needs the columns folder and file"),
        ("gone", r"two/c\.png of the validation list .* is not there"),
        ("twice", r"one/b\.png of the validation list .* is named twice"),
        ("none", "names no picture of one, two"),
        ("both", r"one/b\.png validates, and .*copy\.png is the same picture for training"),
        ("broken", r"one/b\.png cannot be read"),
        ("empty", "holds no images"),
    ],
)
def test_validation_lists_that_do_not_fit_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, words: str
) -> None:
    config, kept = folders(tmp_path, monkeypatch), tmp_path / "kept.csv"
    if change == "missing":
        kept.unlink()
    elif change == "columns":
        kept.write_text("a,b\n1,2\n")
    elif change == "gone":
        (tmp_path / "two" / "c.png").unlink()
    elif change == "twice":
        kept.write_text(kept.read_text() + "one,b.png\n")
    elif change == "none":
        kept.write_text("folder,file\nelsewhere,x.png\n")
    elif change == "both":
        Image.open(tmp_path / "one" / "b.png").save(tmp_path / "two" / "copy.png")
    elif change == "broken":
        (tmp_path / "one" / "b.png").write_bytes(b"no picture")
    else:
        (tmp_path / "three").mkdir()
        config = replace(config, images=("one", "three"))
    with pytest.raises(WeconveneError, match=words):
        load_images(config)


def test_every_set_validates_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(folders(tmp_path, monkeypatch), validate_every=4, validate_qualities=(0.0, 6.0))
    trainer = Trainer(config, load_images(config))
    trainer.run()
    rows = trainer.log.rows["validation.csv"]
    assert [(row["set"], row["quality"]) for row in rows] == [("two", 0), ("two", 6), ("one", 0), ("one", 6)]
    assert rows[0]["loss"] != rows[2]["loss"]


def test_low_qualities_are_drawn_more_often_when_asked(tmp_path: Path) -> None:
    pool = ImagePool((ramp(64, 64),), (ramp(64, 64),))
    phase = replace(PHASE, batch=1000)
    config = TrainConfig("tiny", (phase,), str(tmp_path))
    shares = [
        (Sampler(pool, replace(config, quality_exponent=e), CPU).draw(0, phase, ProcessGroup())[1] < 2)
        .float()
        .mean()
        .item()
        for e in (1.0, 1.2)
    ]
    assert shares == pytest.approx([2 / 7, (2 / 7) ** (1 / 1.2)], abs=0.04)
    assert shares[0] < shares[1]


def test_scaled_squares_show_a_larger_piece_without_aliasing() -> None:
    stripes = np.zeros((128, 128, 3), np.uint8)
    stripes[:, ::2] = 200
    batch = cut(on_device([stripes], 64, CPU), [Crop(0, 0, 0, 128, 0)], 64)
    assert (batch[..., 2:-2] * 255 - 100).abs().max() < 15


def test_scale_is_drawn_for_half_of_the_squares_and_fits_the_image() -> None:
    images = on_device([ramp(100, 200)], 64, CPU)
    sides = np.array([c.side for c in draw_crops(images, 2000, 64, np.random.default_rng(0), scale_min=0.5)])
    assert 0.4 < (sides == 64).mean() < 0.6
    assert sides.max() == 100  # the image's height, where 128 were allowed
    crops = draw_crops(images, 200, 64, np.random.default_rng(0))
    assert {c.side for c in crops} == {64}
    assert (min(c.top for c in crops), max(c.top for c in crops)) == (0, 36)


def test_shares_of_a_batch_make_the_whole() -> None:
    config = TrainConfig("tiny", (PHASE,), "unused", scale_min=0.5)
    sampler = Sampler(ImagePool((ramp(90, 70), ramp(40, 200)), ()), config, CPU)
    x, quality = sampler.draw(5, PHASE, ProcessGroup())
    noise = torch.rand(3)
    shares = [sampler.draw(5, PHASE, ProcessGroup(rank, 4)) for rank in range(4)]
    assert torch.equal(torch.cat([share[0] for share in shares]), x)
    assert torch.equal(torch.cat([share[1] for share in shares]), quality)
    assert torch.equal(torch.rand(3), noise)
    assert not torch.equal(sampler.draw(6, PHASE, ProcessGroup())[0], x)


def test_model_of_one_rate_is_trained_at_that_rate() -> None:
    config = TrainConfig("tiny", (PHASE,), "unused", model={"quality": 2.0})
    _, quality = Sampler(ImagePool((ramp(90, 70),), ()), config, CPU).draw(0, PHASE, ProcessGroup())
    assert quality.unique().tolist() == [2.0]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(50):
        Image.fromarray(ramp(40 + number, 64)).save(folder / f"{number:02d}.png")
    (folder / "99.png").write_bytes(b"no picture")
    return folder


def test_packs_hold_every_training_image_once_and_the_same_validation(photographs: Path, tmp_path: Path) -> None:
    paths = sorted(photographs.iterdir())
    limit = sum(path.stat().st_size for path in paths) // 2
    assert write_packs(paths, tmp_path, limit) == ("99.png",)
    archives = sorted(tmp_path.glob("*.zip"))
    assert len(archives) > 2
    assert all(path.stat().st_size <= limit for path in archives)
    whole, packed = load_pool(paths), PackedImages(tmp_path, steps=10)
    pools = [packed.pool_at(10 * number) for number in range(len(archives) - 1)]
    assert packed.pool_at(0) is packed.pool_at(9)
    assert packed.pool_at(10 * len(pools)).train[0].shape == pools[0].train[0].shape
    heights = sorted(image.shape[0] for pool in pools for image in pool.train)
    assert heights == sorted(image.shape[0] for image in whole.train)
    assert packed.image_count == whole.image_count == 50 - len(range(0, 50, VALIDATION_EVERY))
    assert packed.pixels == whole.pixels
    assert [image.shape for image in packed.validation] == [image.shape for image in whole.validation]


def test_packs_fail_in_sentences(photographs: Path, tmp_path: Path) -> None:
    paths = sorted(photographs.iterdir())
    with pytest.raises(WeconveneError, match="limit of 600"):
        write_packs(paths, tmp_path, 600)
    write_packs(paths, tmp_path)
    (tmp_path / "train-00.zip").write_bytes(b"short")
    with pytest.raises(WeconveneError, match=r"train-00.zip cannot be read"):
        PackedImages(tmp_path, steps=1).pool_at(0)
    (tmp_path / "packs.json").write_text("{}")
    with pytest.raises(WeconveneError, match=r"packs.json cannot be read"):
        PackedImages(tmp_path, steps=1)


def test_unreadable_and_small_images_are_reported(photographs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = TrainConfig("tiny", (replace(PHASE, crop=64),), "unused", images=str(photographs))
    assert load_images(config).image_count == 48
    said = capsys.readouterr().out
    assert "left out, unreadable: 99.png" in said
    assert "23 of 48 training images are smaller than the crop" in said


@pytest.mark.parametrize("optimizer", ["adam", "soap"])
def test_state_travels_in_parts_and_the_run_goes_on(tmp_path: Path, optimizer: str) -> None:
    pool = ImagePool((ramp(90, 70),), ())
    config = TrainConfig(
        "tiny", (PHASE, replace(PHASE, name="q")), str(tmp_path / "here"), save_seconds=0.0, log_every=1,
        optimizer=optimizer,
    )  # fmt: skip
    here = Trainer(config, pool)
    here.run()
    travel.pack_state(tmp_path / "here", tmp_path / "parcel", part_bytes=1_000_000)
    parts = sorted((tmp_path / "parcel").glob("state.part*"))
    assert all(path.stat().st_size <= 1_000_000 for path in parts)
    exact, _ = read_tensors(tmp_path / "here" / STATE)
    assert sum(path.stat().st_size for path in parts) < 0.9 * (tmp_path / "here" / STATE).stat().st_size
    travel.unpack_state(tmp_path / "parcel", tmp_path / "there")
    arrived, _ = read_tensors(tmp_path / "there" / STATE)
    assert arrived.keys() == exact.keys()
    for name, tensor in exact.items():
        if name.startswith("weights/") and name.endswith("/exp_avg") and tensor.numel() >= travel.SMALL:
            assert not arrived[name].any()
        else:
            relative = {"ema": 1e-6, "weights": 2**-8}.get(name.split("/")[0], 0.0)
            torch.testing.assert_close(arrived[name], tensor, rtol=relative, atol=1e-6 if relative else 0.0)
    there = Trainer(replace(config, output=str(tmp_path / "there")), pool)
    there.run()
    assert there.step == here.step == 8
    assert [row["step"] for row in there.log.rows["log.csv"]] == list(range(1, 9))


def test_parcels_are_checked_and_never_set_a_run_back(tmp_path: Path) -> None:
    pool = ImagePool((ramp(90, 70),), ())
    config = TrainConfig("tiny", (PHASE,), str(tmp_path / "run"))
    Trainer(config, pool).run(minutes=0)
    travel.pack_state(tmp_path / "run", tmp_path / "parcel")
    Trainer(config, pool).run()
    travel.unpack_state(tmp_path / "parcel", tmp_path / "run")
    assert read_tensors(tmp_path / "run" / STATE)[1]["step"] == PHASE.steps
    part = tmp_path / "parcel" / "state.part00"
    part.write_bytes(part.read_bytes()[:-1] + b"!")
    with pytest.raises(WeconveneError, match="incomplete or damaged"):
        travel.unpack_state(tmp_path / "parcel", tmp_path / "elsewhere")
