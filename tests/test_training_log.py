"""The tables of a run: written row by row, cut back and gone on with."""

from __future__ import annotations

from pathlib import Path

from weconvene_core.training.distributed import ProcessGroup
from weconvene_core.training.log import LOG, RunLog


def test_an_older_log_with_other_columns_goes_on(tmp_path: Path) -> None:
    """Columns of today, those that are gone left out; a last row cut short by a kill and rows too far are dropped."""
    older = "step,phase,loss,gflops\n1,entropy,0.5,50\n2,joint,0.25,60\n3,joint,0.125,70\n4,jo"
    (tmp_path / LOG).write_text(older)
    log = RunLog(tmp_path, ProcessGroup())
    with log.start(2, 1.5, 9):
        log.write(LOG, {"step": 3, "stage": "joint", "loss": 0.2})
    again = RunLog(tmp_path, ProcessGroup())
    again.start(9, 2.0, 9).close()
    rows = again.rows[LOG]
    assert [(row["step"], row["stage"], row["loss"]) for row in rows] == [
        (1, "entropy", 0.5), (2, "joint", 0.25), (3, "joint", 0.2),
    ]  # fmt: skip
    assert "gflops" not in (tmp_path / LOG).read_text()


def test_only_the_main_process_writes(tmp_path: Path) -> None:
    log = RunLog(tmp_path, ProcessGroup(1, 2))
    with log.start(0, 0.0, 9):
        log.write(LOG, {"step": 1})
    assert not list(tmp_path.iterdir())
