"""What the pages show runs as it stands there, and what they name exists."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path

import pytest
import torch

from lab.paths import NOTEBOOKS, ROOT

DOCS = ROOT / "docs"


def blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.+?)```", (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)


def test_the_entropy_model_alone_gives_back_what_it_wrote() -> None:
    (block,) = [block for block in blocks("using.md") if "SliceLayout" in block]
    names: dict[str, object] = {}
    exec(block, names)
    pairs = zip(names["decoded"], (names["lf_hat"], names["hf_hat"]), strict=True)
    assert all(torch.equal(own, other) for own, other in pairs)
    written = sum(map(len, names["streams"].values()))
    assert written == pytest.approx(float(names["bits"]) / 8, rel=0.2)


def run(page: str) -> dict[str, object]:
    """Run all blocks of a page, one after the other; they assert what the page says."""
    names: dict[str, object] = {}
    for block in blocks(page):
        exec(block, names)
    return names


def test_what_is_said_of_other_wavelet_libraries_is_so() -> None:
    pytest.importorskip("ptwt", reason="The extra `bench` is not installed.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pytorch_wavelets is dormant
        pytest.importorskip("pytorch_wavelets", reason="The extra `bench` is not installed.")
    assert "pyramid" in run("coming-from.md")


def test_the_layer_replaces_convolutions_as_its_page_says() -> None:
    names = run("layer.md")
    assert {row["layer"].partition(".")[0] for row in names["report"].replaced} == {"g_a", "g_s"}


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda path: path.stem)
def test_links_of_a_page_lead_to_files(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:|#)([^)#\s]+)(?:#[^)\s]*)?\)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_the_teaching_guide_names_sections_that_the_chapters_have() -> None:
    rows = re.findall(r"\]\(\S+/(\w+)\.ipynb\): (.+?) \|", (DOCS / "teaching.md").read_text(encoding="utf-8"))
    named = [(chapter, title) for chapter, titles in rows for title in re.findall(r'"(.+?)"', titles)]
    assert len(named) > 8
    for chapter, title in named:
        cells = json.loads((NOTEBOOKS / f"{chapter}.ipynb").read_text(encoding="utf-8"))["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        assert re.search(rf"^## (\d+\. )?{re.escape(title)}$", text, re.MULTILINE), f"{chapter} has no section {title}"
