"""Imports run in one direction, the core never needs the laboratory, and old import paths say where things are."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

import pytest

from lab.paths import NOTEBOOKS, ROOT
from weconvene_core.moved import MOVED


def test_imports_keep_to_their_contracts() -> None:
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
    environment = {**os.environ, "PYTHONPATH": str(NOTEBOOKS)}
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("old", sorted(MOVED))
def test_an_old_path_names_the_new_one(old: str) -> None:
    with pytest.raises(ImportError, match=MOVED[old].replace(".", r"\.")):
        importlib.import_module(f"weconvene_core.{old}")
    importlib.import_module(f"weconvene_core.{MOVED[old]}")


def test_an_old_path_of_the_laboratory_names_its_folder() -> None:
    with pytest.raises(ImportError, match="notebooks/lab"):
        importlib.import_module("weconvene_core.evaluation.bd_rate")
    with pytest.raises(ImportError, match="notebooks/lab"):
        importlib.import_module("weconvene_core.wavelets.factor")
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("weconvene_core.no_such_room")
