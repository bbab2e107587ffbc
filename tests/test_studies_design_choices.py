"""The ledger names every switch there is, and no other."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from lab.studies import design_choices
from weconvene_core.errors import WeconveneError
from weconvene_core.model.presets import ModelConfig
from weconvene_core.paths import ROOT

LEDGER = design_choices.read_ledger()


def test_every_field_of_the_configuration_is_in_the_ledger() -> None:
    named = {switch for cell in LEDGER.switch for switch in design_choices.switches_of(cell)}
    assert [f.name for f in fields(ModelConfig) if f"ModelConfig.{f.name}" not in named] == []


def test_choices_are_distinct_and_have_sources_and_defaults() -> None:
    assert LEDGER.choice.is_unique
    assert (LEDGER.source.str.len() > 0).all()
    assert set(LEDGER.status) == set(design_choices.STATUSES)
    papers = LEDGER[LEDGER.status == "stated"].source
    assert papers.str.contains("arXiv 2504.04658").all()


def test_measurements_point_to_files() -> None:
    for path in LEDGER.measured_effect[LEDGER.measured_effect != ""].unique():
        assert (ROOT / path).is_file(), path


def test_markdown_has_one_line_per_choice() -> None:
    lines = design_choices.ledger_markdown(LEDGER, design_choices.COLUMNS).splitlines()
    assert len(lines) == len(LEDGER) + 2
    assert {line.replace("\\|", "").count("|") for line in lines} == {len(design_choices.COLUMNS) + 1}
    assert any("`narrow`, `wide`" in line for line in lines)
    assert design_choices.ledger_summary(LEDGER).startswith(f"{len(LEDGER)} design choices")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (",stated,", ",rumoured,", "status='rumoured'"),
        (",wavelet_layers,", ",wavelet_cake,", "ModelConfig.wavelet_cake"),
        ("choice,status", "choice,state", "columns choice, state"),
    ],
)
def test_faults_are_named(old: str, new: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    altered = tmp_path / "fidelity.csv"
    altered.write_text(design_choices.LEDGER.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    monkeypatch.setattr(design_choices, "LEDGER", altered)
    with pytest.raises(WeconveneError, match=message):
        design_choices.read_ledger()
