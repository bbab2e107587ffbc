"""The numbers of README and of the model card are the tables' numbers, and their links lead somewhere."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from lab.paths import ROOT
from lab.reproduce.fill_readme import BLOCKS, CARD, README, WEIGHTS, core_hours, rendered, replaced
from weconvene_core.errors import WeconveneError
from weconvene_core.paths import CHECKPOINTS


@pytest.mark.parametrize("path", BLOCKS, ids=lambda path: path.stem)
def test_blocks_are_what_the_committed_tables_say(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert rendered(path) == text, "run `make readme`"
    assert not any(f"<!-- {name}:begin -->\n<!--" in text for name in BLOCKS[path])


@pytest.mark.parametrize(("path", "least"), [(README, 10), (CARD, 3), (ROOT / "CONTRIBUTING.md", 5)])
def test_every_link_leads_to_a_file(path: Path, least: int) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", path.read_text(encoding="utf-8"))
    assert len(targets) > least
    assert [target for target in targets if not (path.parent / target).exists()] == []


def test_the_model_card_names_the_weights_that_are_there() -> None:
    text = CARD.read_text(encoding="utf-8")
    assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() in text
    assert f"{CHECKPOINTS.relative_to(ROOT).as_posix()}/{WEIGHTS.name}" in text


def test_core_hours_count_threads_and_processes_of_every_run() -> None:
    first = {"seconds": 1800, "device": "CPU, 2 threads"}
    assert core_hours({"seconds": 3600, "device": "CPU, 1 thread", "processes": 3, "started_from": first}) == 4.0


def test_missing_markers_are_named() -> None:
    with pytest.raises(WeconveneError, match="markers"):
        replaced("<!-- results:begin --> only, <!-- resu", "block", "results")
