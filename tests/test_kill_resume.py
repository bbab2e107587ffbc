"""A real training under real kills: what the table of the evidence says, on a run of a few steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lab.studies import kill_resume
from weconvene_core.training.config import Stage

SHORT = Stage("short", 24, 1e-3, 1e-4, batch=2, crop=32, warmup=2)


@pytest.mark.slow
def test_a_killed_run_loses_what_was_not_saved_and_ends_as_if_nothing_had_been(tmp_path: Path) -> None:
    table = kill_resume.measure(tmp_path, replace(kill_resume.CONFIG, stages=(SHORT,), save_seconds=0.1), kills=1)
    assert list(table.columns) == [
        "kill", "step_at_kill", "step_resumed", "seconds_lost", "save_seconds", "same_weights",
    ]  # fmt: skip
    row = table.iloc[0]
    assert 0 <= row.step_resumed <= row.step_at_kill < SHORT.steps
    assert row.step_at_kill >= 1
    assert row.seconds_lost >= 0
    assert row.same_weights == "yes"


def test_a_training_that_failed_by_itself_is_quoted(tmp_path: Path) -> None:
    (tmp_path / "plain.err").write_text("loading\nerror: the folder is empty\n")
    said = str(kill_resume._failure(replace(kill_resume.CONFIG, output=str(tmp_path / "plain"))))
    assert said.endswith("nothing was measured: error: the folder is empty")


def test_moments_lie_in_equal_parts_of_the_run() -> None:
    moments = kill_resume._moments(kill_resume.CONFIG, 4, seed=1)
    part = (kill_resume.CONFIG.total_steps - 2) / 4
    assert [int((moment - 1) // part) for moment in moments] == [0, 1, 2, 3]
