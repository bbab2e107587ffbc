"""Training configurations: read from files, checked, and what an older one means today."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lab.paths import TRAININGS
from weconvene_core.errors import WeconveneError
from weconvene_core.training.config import Stage, TrainConfig, load_config

ENTROPY = Stage("entropy", 6, 2e-3, 1e-3, batch=2, crop=64, warmup=2, transforms=False)
JOINT = Stage("joint", 6, 1e-3, 1e-4, batch=2, crop=64, w_lf=1.0, w_hf=0.9, warmup=2)


def config(folder: Path, *stages: Stage) -> TrainConfig:
    return TrainConfig("tiny", stages or (ENTROPY, JOINT), output=str(folder / "run"))


def test_schedule_warms_up_and_falls_to_its_final_rate() -> None:
    stage = Stage("p", 100, 1e-3, 1e-5, batch=1, crop=64, warmup=10)
    rates = [stage.rate_at(step) for step in range(100)]
    assert rates[0] < rates[5] < rates[10] == 1e-3
    assert rates[11:] == sorted(rates[11:], reverse=True)
    assert rates[-1] < 2e-5


def test_configuration_round_trip_and_its_errors(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config(tmp_path).to_dict()))
    assert load_config(path) == config(tmp_path)
    for text, words in (
        ("{", "not valid"),
        ('{"preset": "lite"}', "does not fit"),
        ('{"preset": "x", "stages": []}', "fit|unknown"),
        ('{"preset": "tiny", "stages": [], "output": "x"}', "no stages"),
        ('["tiny"]', "not a table of names"),
        ('{"preset": "tiny", "stages": [], "output": "x", "qualities": [1]}', "is no range"),
        ('{"preset": "tiny", "stages": [], "output": "x", "model": {"wider": 3}}', "unknown fields: wider"),
    ):
        path.write_text(text)
        with pytest.raises(WeconveneError, match=words):
            load_config(path)
    with pytest.raises(WeconveneError, match="cannot be read"):
        load_config(tmp_path / "none.json")
    with pytest.raises(WeconveneError, match="multiple of 32"):
        replace(ENTROPY, crop=50)
    for wrong, words in (
        ({"scale_min": 0.1}, "scale_min=0.1"),
        ({"quality_exponent": 0}, "quality_exponent=0"),
        ({"synthetic_share": 0.6}, "synthetic_share=0.6 is impossible; use 0 to 0.5"),
        ({"synthetic_share": -0.1}, "synthetic_share=-0.1"),
    ):
        with pytest.raises(WeconveneError, match=words):
            replace(config(tmp_path), **wrong)
    with pytest.raises(WeconveneError, match="crop=32; 'paper' needs multiples of 64"):
        replace(config(tmp_path, replace(ENTROPY, crop=32)), preset="paper")


def test_older_configurations_go_on_under_the_names_of_today(tmp_path: Path) -> None:
    today = config(tmp_path)
    older = json.loads(json.dumps(today.to_dict()))
    older["phases"] = older.pop("stages")
    older |= {"pack_steps": 1000, "compile": False, "tensorboard": False}
    del older["synthetic_images"]
    assert TrainConfig.from_dict(older) == today
    assert today.goes_on_from(TrainConfig.from_dict(older), 3)


@pytest.mark.parametrize("path", sorted(TRAININGS.glob("*.toml")), ids=lambda path: path.stem)
def test_configurations_that_ship_are_valid(path: Path) -> None:
    assert load_config(path).total_steps > 0
