"""The ledger names every switch there is, and no other."""

from __future__ import annotations

from dataclasses import fields

from lab.paths import ROOT
from lab.studies import design_choices
from weconvene_core.model.config import ModelConfig
from weconvene_core.training.config import Stage, TrainConfig

LEDGER = design_choices.read_ledger()
RECORDS = {"Phase": Stage, "TrainConfig": TrainConfig, "ModelConfig": ModelConfig}
"""Where a switch ``Record.field`` lives; a switch without record is a field of ``ModelConfig``."""


def test_the_ledger_names_every_field_of_the_model_and_no_switch_that_is_not_there() -> None:
    named = {name for cell in LEDGER.switch for name in cell.split(";")} - {"-"}
    named = {name if "." in name else f"ModelConfig.{name}" for name in named}
    assert named <= {f"{record}.{f.name}" for record, kind in RECORDS.items() for f in fields(kind)}
    assert named >= {f"ModelConfig.{f.name}" for f in fields(ModelConfig)}


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
