"""Beyond compression: the layer in other networks, equal costs, one training loop; denoising, classes, scenes."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lab.applications import classification, denoising, segmentation
from lab.applications.study import fit, interval, nearest_width, parameters_of, spread, with_weconv
from lab.layer_analysis.denoising_trial import Denoiser, forward_macs
from weconvene_core.errors import WeconveneError
from weconvene_core.layers import WeConv3d, WeConvSpec
from weconvene_core.training.config import Stage

SPEC = WeConvSpec("5/3", 1)
PHASE = Stage("short", 12, 5e-3, 1e-3, batch=4, crop=32, warmup=2)


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WECONVENE_DATA", raising=False)


# --- the layer in other networks, at equal cost ----------------------------------------------------------------------


@pytest.mark.parametrize("cost", [parameters_of, lambda network: forward_macs(network, torch.zeros(1, 1, 32, 32))],
                         ids=["parameters", "MACs"])  # fmt: skip
def test_the_nearest_width_costs_as_much(cost: Callable[[nn.Module], int]) -> None:
    folded, plain = WeConvSpec("5/3", 1, channel_dwt=False), cost(Denoiser(24, 2))
    width = nearest_width(lambda n: cost(with_weconv(Denoiser(n, 2), folded)), plain, 96)
    gaps = [abs(cost(with_weconv(Denoiser(n, 2), folded)) - plain) for n in (width - 1, width, width + 1)]
    assert min(gaps) == gaps[1] < 0.1 * plain


def test_a_shared_convolution_becomes_one_layer() -> None:
    conv = nn.Conv2d(8, 8, 3, padding=1)
    network = with_weconv(nn.Sequential(conv, nn.ReLU(), conv), SPEC)
    assert isinstance(network[0], WeConv3d)
    assert network[0] is network[2]


def test_only_what_sees_pictures_stays_plain() -> None:
    network = with_weconv(Denoiser(8, 2), SPEC)
    assert sum(isinstance(m, WeConv3d) for m in network.modules()) == 4
    assert isinstance(network.head, nn.Conv2d)
    assert isinstance(network.tail, nn.Conv2d)
    assert network(torch.rand(2, 1, 17, 23)).shape == (2, 1, 17, 23)


def test_a_network_without_fitting_layers_is_refused() -> None:
    with pytest.raises(WeconveneError, match="none of the network's 1 convolutions"):
        with_weconv(nn.Sequential(nn.Conv2d(8, 8, 3, stride=2)), SPEC)


def test_costs_that_no_width_can_match_are_refused() -> None:
    with pytest.raises(WeconveneError, match="no width from"):
        nearest_width(lambda width: 1000 * width, 1500, 8)


# --- training and statistics -----------------------------------------------------------------------------------------


def test_training_repeats_itself_and_learns() -> None:
    def trained(seed: int) -> tuple[nn.Module, float]:
        torch.manual_seed(0)
        network = nn.Linear(3, 1)
        fit(network, lambda rng: torch.from_numpy(rng.random((16, 3), dtype=np.float32)),
            lambda net, x: (net(x) - x.sum(1, keepdim=True)).square().mean(),
            Stage("line", 300, 3e-2, 1e-3, 16, 32, warmup=5), seed)  # fmt: skip
        return network, float((network.weight.detach() - 1).abs().max())

    (first, error), (again, _), (other, _) = trained(1), trained(1), trained(2)
    assert error < 0.1
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)
    assert not first.training


def test_a_loss_that_stays_infinite_ends_the_training() -> None:
    with pytest.raises(WeconveneError, match="not finite"):
        fit(nn.Linear(1, 1), lambda _: None, lambda net, _: net.weight.sum() / 0, PHASE, 0)


def test_interval_is_students() -> None:
    low, high = interval(np.array([1.0, 2.0, 3.0]))
    assert (low + high) / 2 == pytest.approx(2)
    assert high - 2 == pytest.approx(4.302652730 / np.sqrt(3))  # t(0.975, 2) times the standard error
    assert all(np.isnan(interval(np.array([1.0]))))


def test_spread_takes_evenly() -> None:
    paths = [Path(str(i)) for i in range(10)]
    assert spread(paths, 3) == [paths[0], paths[3], paths[6]]
    assert spread(paths, 99) == paths


# --- denoising -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_data")
def test_denoising_runs_on_the_embedded_photographs_and_says_so() -> None:
    with pytest.warns(UserWarning, match="CBSD68.*embedded default"):
        data = denoising.photographs(train=4, test=1, crop=32)
    assert "scikit-image photographs" in data.label
    pictures = {name: picture[100:228, 100:228] for name, picture in data.test.items()}
    torch.manual_seed(0)
    network = with_weconv(Denoiser(8, 2), SPEC)
    denoising.train(network, 0, data.train, replace(PHASE, steps=60))
    table = denoising.measure(denoising.network_denoiser(network), pictures, [25])
    assert 20 < table.psnr_db[0] < 40  # noise of this strength alone: 20.2 dB


def test_noise_has_its_strength_and_wavelet_thresholds_remove_it() -> None:
    y, x = np.mgrid[:96, :80] / 96
    clean = (0.5 + 0.4 * np.sin(5 * x + 3 * y)).astype(np.float32)
    noisy = denoising.noisy_version(clean, 25)
    assert 255 * (noisy - clean).std() == pytest.approx(25, rel=0.03)
    assert np.array_equal(noisy, denoising.noisy_version(clean, 25))
    table = {
        name: denoising.measure(method, {"waves": clean}, [25]).psnr_db[0]
        for name, method in (("noisy", denoising.classical_methods()["noisy"]), ("wavelet", denoising.wavelet_denoiser))
    }
    assert table["noisy"] == pytest.approx(20.2, abs=0.5)  # -20 log10(25 / 255), a little more by clipping
    assert table["wavelet"] > table["noisy"] + 5


# --- classification --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_data")
def test_classification_tells_the_embedded_photographs_apart() -> None:
    with pytest.warns(UserWarning, match="CIFAR-10.*embedded default"):
        data = classification.pictures(train=60, test=20)
    assert data.train.shape == (240, 3, 32, 32)
    torch.manual_seed(0)
    network = with_weconv(classification.ResNet(6, 4), SPEC)
    classification.train(network, 0, data, Stage("short", 40, 1e-2, 1e-3, batch=32, crop=32, warmup=2))
    answers = classification.probabilities(network, data.test).argmax(1)
    assert (answers == data.test_labels).float().mean() > 0.4  # a quarter by chance


def test_a_class_archive_is_read_and_a_bad_one_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WECONVENE_DATA", str(tmp_path))
    archive = tmp_path / classification.ARCHIVE
    archive.parent.mkdir()
    archive.write_bytes(b"no archive")
    with pytest.raises(WeconveneError, match="cannot be read"):
        classification.pictures(2, 1)
    with tarfile.open(archive, "w:gz") as files:
        for number, place in enumerate(("train/cat/0.png", "train/dog/0.png", "test/cat/0.png", "test/dog/0.png")):
            Image.new("RGB", (32, 32), (40 * number, 0, 0)).save(tmp_path / "one.png")
            files.add(tmp_path / "one.png", place)
    data = classification.pictures(2, 1)
    assert data.classes == ("cat", "dog")
    assert data.test[:, 0, 0, 0].tolist() == [80, 120]
    with tarfile.open(archive, "w:gz") as files:
        files.add(tmp_path / "one.png", "train/cat/0.png")
    with pytest.raises(WeconveneError, match="lacks"):
        classification.pictures(2, 1)


# --- segmentation ----------------------------------------------------------------------------------------------------


def test_scenes_of_any_size_are_labelled() -> None:
    network = segmentation.UNet(4, 3).eval()
    assert segmentation.predict(network, torch.zeros(3, 21, 34, dtype=torch.uint8)).shape == (21, 34)


def test_labels_that_do_not_fit_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WECONVENE_DATA", str(tmp_path))
    for part in ("train", "trainannot", "val", "valannot"):
        (tmp_path / segmentation.FOLDER / part).mkdir(parents=True)
    Image.new("RGB", (8, 6)).save(tmp_path / segmentation.FOLDER / "train" / "a.jpg")
    with pytest.raises(WeconveneError, match="no readable labels"):
        segmentation.scenes(1, 1)
    Image.new("L", (8, 5)).save(tmp_path / segmentation.FOLDER / "trainannot" / "a.png")
    with pytest.raises(WeconveneError, match="differ in size"):
        segmentation.scenes(1, 1)
