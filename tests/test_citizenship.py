"""CompressAI's own tools on our models: eval_model, its loss and training loop, its results JSON and its plot."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import compressai.zoo
import numpy as np
import pandas as pd
import pytest
import torch
from compressai.losses import RateDistortionLoss
from compressai.optimizers import net_aux_optimizer
from PIL import Image

import weconvene_core
from lab.paths import PUBLISHED, ROOT
from lab.rd import compressai_results as bridge
from lab.rd.curves import POINT_COLUMNS
from weconvene_core.codec.pictures import load_rgb
from weconvene_core.compressai_zoo import model_at
from weconvene_core.datasets.image_sets import image_set
from weconvene_core.errors import WeconveneError
from weconvene_core.model.presets import preset
from weconvene_core.model.weconvene import WeConvene


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    """Importing CompressAI's evaluation tool sets one thread for the whole process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    picture = load_rgb(image_set("default", 1).paths[0])
    picture.crop((100, 40, 291, 207)).save(folder / "odd.png")
    picture.crop((60, 60, 252, 252)).save(folder / "square.png")
    return folder


def test_eval_model_codes_real_pictures_and_plot_draws_its_results(pictures: Path, tmp_path: Path) -> None:
    from compressai.utils.eval_model.__main__ import main as eval_model
    from compressai.utils.plot.__main__ import main as plot

    weconvene_core.register()
    eval_model(["pretrained", str(pictures), "-a", "weconvene-lite", "-q", "1,3,6", "-d", str(tmp_path), "-o", "lite"])
    results = json.loads((tmp_path / "lite.json").read_text())["results"]
    assert results["bpp"] == sorted(results["bpp"])
    assert results["psnr-rgb"] == sorted(results["psnr-rgb"])
    assert 25 < results["psnr-rgb"][0] < results["psnr-rgb"][2] < 45
    plot(["-f", str(tmp_path / "lite.json"), "-o", str(tmp_path / "curve.png")])
    with Image.open(tmp_path / "curve.png") as curve:
        assert curve.width > 300


def test_entropy_estimation_agrees_with_the_bytes(pictures: Path) -> None:
    from compressai.utils.eval_model.__main__ import inference, inference_entropy_estimation, read_image

    model, x = model_at("lite", 4.0, pretrained=True), read_image(pictures / "square.png")
    coded, estimated = inference(model, x), inference_entropy_estimation(model, x)
    assert coded["bpp"] == pytest.approx(estimated["bpp"], rel=0.01, abs=64 * 8 / x[0].numel())
    assert coded["psnr-rgb"] == pytest.approx(estimated["psnr-rgb"], abs=0.01)


def test_trainer_example_loop_lowers_the_loss() -> None:
    """The steps of CompressAI's ``examples/train.py``: two optimisers, its loss, its auxiliary loss."""
    torch.manual_seed(0)
    model = WeConvene(preset("tiny")).train()
    x = torch.nn.functional.interpolate(torch.rand(2, 3, 8, 8), size=(64, 64), mode="bicubic").clamp(0, 1)
    model.set_scales_from(x)
    optimizers = net_aux_optimizer(model, {"net": {"type": "Adam", "lr": 1e-3}, "aux": {"type": "Adam", "lr": 1e-3}})
    criterion, losses = RateDistortionLoss(lmbda=0.0067), []
    for _ in range(12):
        for optimizer in optimizers.values():
            optimizer.zero_grad()
        found = criterion(model(x), x)
        found["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizers["net"].step()
        model.aux_loss().backward()
        optimizers["aux"].step()
        losses.append(found["loss"].item())
    assert sum(losses[-3:]) < sum(losses[:3])


def test_batches_are_coded_image_by_image() -> None:
    torch.manual_seed(0)
    model, x = WeConvene(preset("tiny")).eval(), torch.rand(2, 3, 64, 96)
    model.update(force=True)
    coded = model.compress(x)
    assert [len(strings) for strings in coded["strings"]] == [2, 2, 2]
    both = model.decompress(coded["strings"], coded["shape"])["x_hat"]
    alone = [model.compress(image) for image in x.split(1)]
    singles = [model.decompress(c["strings"], c["shape"])["x_hat"] for c in alone]
    assert torch.equal(both, torch.cat(singles))


def test_results_leave_in_compressai_json(tmp_path: Path) -> None:
    from compressai.utils.plot.__main__ import parse_json_file

    rows = [["kodak", "mean", "lite", q, 0.2 * q, 28.0 + q, 0.95, 0.1, 0.1] for q in (2.0, 1.0)]
    rows.append(["kodak", "kodim01.png", "lite", 1.0, 9.0, 9.0, 0.9, 0.1, 0.1])
    rows.append(["kodak", "kodim01.png", "WebP", 1.0, 8.0, 8.0, 0.8, 0.1, 0.1])
    path = bridge.write_results(pd.DataFrame(rows, columns=POINT_COLUMNS), "lite", "kodak", tmp_path)
    curve, image = (parse_json_file(p, "psnr") for p in (path, tmp_path / "kodak-lite-kodim01.json"))
    assert (curve["name"], curve["xs"], curve["ys"]) == ("lite", [0.2, 0.4], [29.0, 30.0])
    assert (image["name"], image["xs"], image["ys"]) == ("lite", [9.0], [9.0])


@pytest.mark.parametrize("metric", ["psnr", "ms-ssim"])
def test_results_of_every_image_are_read_by_compressai_and_have_the_stated_mean(metric: str, tmp_path: Path) -> None:
    from compressai.utils.plot.__main__ import parse_json_file

    path = bridge.write_results(pd.read_csv(PUBLISHED / "tables" / "rd_points.csv"), "lite", "kodak", tmp_path)
    images = [parse_json_file(file, metric) for file in sorted(tmp_path.glob("kodak-lite-kodim*.json"))]
    assert len(images) == 24
    assert all(list(curve[axis]) == sorted(curve[axis]) for curve in images for axis in ("xs", "ys"))
    # the table keeps six decimals
    assert np.mean([curve["xs"] for curve in images], axis=0) == pytest.approx(
        parse_json_file(path, metric)["xs"], abs=1e-5
    )


def test_exported_results_are_read_by_compressai() -> None:
    from compressai.utils.plot.__main__ import parse_json_file

    for metric in ("psnr", "ms-ssim"):
        curve = parse_json_file(PUBLISHED / "compressai" / "kodak-lite.json", metric)
        assert list(curve["xs"]) == sorted(curve["xs"])
        assert list(curve["ys"]) == sorted(curve["ys"])


def test_the_zoo_gives_models_of_the_readers_own() -> None:
    weconvene_core.register()
    lite = compressai.zoo.image_models["weconvene-lite"]
    one, other = lite(quality=2, pretrained=True), lite(quality=5, pretrained=True)
    with torch.no_grad():
        next(one.parameters()).zero_()
    assert next(other.parameters()).abs().sum() > 0
    assert (one.default_quality, other.default_quality) == (2.0, 5.0)
    tuned = lite(3, "ms-ssim", pretrained=True).state_dict()
    assert any(not torch.equal(tensor, tuned[name]) for name, tensor in other.state_dict().items())
    assert lite(3).state_dict().keys() == other.state_dict().keys()  # untrained


def test_the_page_for_users_of_compressai_runs() -> None:
    (block,) = re.findall(
        r"```python\n(.+?)```", (ROOT / "docs" / "compressai.md").read_text(encoding="utf-8"), re.DOTALL
    )
    x = torch.nn.functional.interpolate(torch.rand(1, 3, 8, 8), size=(64, 96), mode="bicubic").clamp(0, 1)
    names = {"x": x}
    exec(block, names)
    assert (names["x_hat"] - names["out"]["x_hat"].clamp(0, 1)).abs().max() < 0.02


@pytest.mark.slow
def test_torch_hub_finds_the_models_in_a_checkout(tmp_path: Path) -> None:
    """In a process of its own, elsewhere: nothing but the checkout's path leads to the package."""
    code = (
        "import functools, sys, torch\n"
        "load = functools.partial(torch.hub.load, sys.argv[1], source='local')\n"
        "x = torch.rand(1, 3, 64, 96)\n"
        "for model in load('lite', quality=2), load('tiny'):\n"
        "    print(tuple(model(x)['x_hat'].shape), model.default_quality, model.training)\n"
        "load('tiny', pretrained=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT)], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.stdout.splitlines() == ["(1, 3, 64, 96) 2.0 False", "(1, 3, 64, 96) 3.0 True"]
    assert "There is no trained model 'tiny'" in done.stderr.splitlines()[-1]


def test_what_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    points = pd.DataFrame([], columns=POINT_COLUMNS)
    with pytest.raises(WeconveneError, match="codec='huge'"):
        bridge.write_results(points, "huge", "kodak")
    with pytest.raises(WeconveneError, match="'lpips' is unknown; use one of mse, ms-ssim"):
        model_at("lite", 3, metric="lpips")
    with pytest.raises(WeconveneError, match="outside 0 to 7"):
        model_at("lite", 8, pretrained=True)
    monkeypatch.setitem(sys.modules, "compressai", None)  # as if it were not installed
    with pytest.raises(WeconveneError, match="install compressai"):
        weconvene_core.register()
