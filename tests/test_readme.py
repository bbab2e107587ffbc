"""README's numbers are the tables' numbers, and its links lead somewhere."""

from __future__ import annotations

import re

import pytest

from weconvene_core.errors import WeconveneError
from weconvene_core.paths import ROOT
from weconvene_core.reproduce.readme import README, rendered, replaced


def test_blocks_are_what_the_committed_tables_say() -> None:
    text = README.read_text(encoding="utf-8")
    assert rendered(text) == text, "run `make readme`"


def test_every_link_of_the_readme_leads_to_a_file() -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)\)", README.read_text(encoding="utf-8"))
    assert len(targets) > 10
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_missing_markers_are_named() -> None:
    with pytest.raises(WeconveneError, match="markers"):
        replaced("<!-- results:begin --> only, <!-- resu", "block")
