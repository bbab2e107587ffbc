"""The long measurements: every table has a maker, commands are known by name, a failure costs only its own table."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab.reproduce import fresh, long_measurements
from lab.reproduce.claims import read_claims
from lab.reproduce.long_measurements import KEPT_TABLES, MEASUREMENTS, PACKAGE, Measurement, command_of
from lab.reproduce.run_records import REPOSITORY


def test_every_table_is_made_by_a_notebook_or_by_a_named_command() -> None:
    files = json.loads(REPOSITORY.manifest.read_text(encoding="utf-8"))["files"]
    tables = [Path(name).name for name in files if name.startswith("results/tables/")]
    nobody = [name for name in tables if not files[f"results/tables/{name}"]["notebook"] and name not in KEPT_TABLES]
    assert len(tables) > 50
    assert nobody == []
    assert {measurement.module for measurement in MEASUREMENTS if find_spec(f"{PACKAGE}.{measurement.module}")} == {
        measurement.module for measurement in MEASUREMENTS
    }


def test_claims_on_kept_tables_name_the_command_that_makes_them() -> None:
    for claim in read_claims(REPOSITORY.data / "claims.csv"):
        command = command_of(Path(claim.table).name)
        if command and not claim.command.startswith("make "):
            assert claim.command in command.split("; ") or f"{claim.command} " in f"{command} ", claim.id


def test_a_table_of_a_notebook_has_no_command() -> None:
    assert command_of("rd_points.csv") is None
    assert command_of("step_two.csv").count("evaluation.step_two") == 2


def test_the_list_says_what_is_made_and_unknown_names_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert long_measurements.main(["--list", "tiling"]) == 0
    assert "evaluation.tiling: tiles.csv (" in capsys.readouterr().out
    assert long_measurements.main(["tilings"]) == 1
    assert "no measurement is called 'tilings': choose from recipe, ablations" in capsys.readouterr().err


def test_a_measurement_that_fails_is_named_and_the_others_run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    both = (Measurement("no_such_module", ("a.csv",), "nothing"), Measurement("ablations", (), "nothing", ("--help",)))
    monkeypatch.setattr(long_measurements, "MEASUREMENTS", both)
    assert long_measurements.main([]) == 1
    said = capfd.readouterr()
    assert "Ablations of 3DM-WeConvene" in said.out
    assert f"error: python -m {PACKAGE}.no_such_module did not finish" in said.err


def test_a_kept_table_is_no_notebooks_own_whatever_a_record_says(monkeypatch: pytest.MonkeyPatch) -> None:
    record = SimpleNamespace(artifacts={"results/tables/tiles.csv": "", "results/tables/rates.csv": ""})
    monkeypatch.setattr(fresh, "recorded_runs", lambda _: {"12_video": record})
    assert fresh.own_tables(REPOSITORY, "12_video") == ["results/tables/rates.csv"]
