"""An installed package writes into the user's folders, and into its own never."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from weconvene_core import paths
from weconvene_core.cli.main import main
from weconvene_core.errors import WeconveneError
from weconvene_core.model.checkpoint import tensors_hash, weights_hash


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own checkpoints beside an installed package."""
    monkeypatch.setattr(paths, "CHECKOUT", False)
    monkeypatch.setattr(paths.platformdirs, "user_data_path", lambda name, appauthor: tmp_path / name)
    monkeypatch.delenv("WECONVENE_RUNS", raising=False)
    (tmp_path / "weconvene" / "checkpoints").mkdir(parents=True)
    return tmp_path / "weconvene" / "checkpoints"


def test_a_model_of_the_user_stands_beside_those_that_ship(home: Path) -> None:
    assert paths.new_checkpoint("mine") == home / "mine.safetensors"
    shutil.copy(paths.CHECKPOINTS / "lite.safetensors", home / "mine.safetensors")
    assert set(paths.checkpoints()) == {"lite", "lite_msssim", "mine"}
    assert paths.checkpoint("mine").parent == home
    assert paths.checkpoint("lite").parent == paths.CHECKPOINTS


def test_a_model_that_ships_is_never_replaced(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(WeconveneError, match="'lite' belongs to the installed package"):
        paths.new_checkpoint("lite")
    before = paths.checkpoint("lite").stat().st_mtime_ns
    assert main(["calibrate", "lite"]) == 1
    assert "choose another name" in capsys.readouterr().err
    assert paths.checkpoint("lite").stat().st_mtime_ns == before


def test_a_change_of_a_shipped_model_finds_it_from_the_users_folder(home: Path) -> None:
    shipped = paths.CHECKPOINTS / "lite_msssim.safetensors"
    shutil.copy(shipped, home / "tuned.safetensors")
    assert weights_hash(home / "tuned.safetensors") == weights_hash(shipped) != tensors_hash({})


def test_runs_and_downloads_lie_where_the_user_is(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert paths.run_folder("runs/x").absolute() == tmp_path / "runs" / "x"
    monkeypatch.setenv("WECONVENE_RUNS", str(tmp_path / "far"))
    assert paths.run_folder("runs/x") == tmp_path / "far" / "runs" / "x"
    monkeypatch.setenv("WECONVENE_CACHE", "")
    assert paths.ROOT not in paths.cache_folder("kodak").parents


def test_in_a_checkout_a_training_releases_what_ships() -> None:
    assert paths.CHECKOUT
    assert paths.new_checkpoint("lite") == paths.CHECKPOINTS / "lite.safetensors"
