"""Trials of changes of the model: each differs from its control in nothing but its change."""

from __future__ import annotations

from dataclasses import asdict

import pandas as pd
import pytest

from lab.studies.model_trials import TRIALS, compared, config_of, main


def test_a_trial_differs_from_its_control_only_in_what_it_tries() -> None:
    for name, (against, changes) in TRIALS.items():
        if against:
            own, control = (asdict(config_of(each)) for each in (name, against))
            changed = {name for name in own if own[name] != control[name]} - {"output"}
            assert changed == set(changes) - set(TRIALS[against][1])


def test_losses_are_compared_at_equal_step_set_and_quality() -> None:
    rows = pd.DataFrame(
        [
            ("control", "", 10, "a", 0.0, 2.0), ("control", "", 10, "b", 0.0, 4.0), ("control", "", 20, "a", 0.0, 1.0),
            ("split", "control", 10, "a", 0.0, 1.9), ("split", "control", 10, "b", 0.0, 4.2),
            ("split", "control", 30, "a", 0.0, 1.0),
        ],
        columns=["trial", "against", "step", "set", "quality", "loss"],
    )  # fmt: skip
    found = compared(rows).change_pct
    assert found[3:5].tolist() == pytest.approx([-5.0, 5.0])
    assert found.isna().tolist() == [True, True, True, False, False, True]


def test_unknown_trials_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["splt"]) == 1
    assert "no trial is called splt" in capsys.readouterr().err
