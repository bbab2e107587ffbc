"""The notebooks as they are stored: stripped, addressable, with parameters, and with more prose than code."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from lab import check_mode
from lab.reproduce.run_records import REPOSITORY

NOTEBOOKS = REPOSITORY.notebooks


def cells(path: Path, kind: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == kind]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_sources_are_what_gits_filter_leaves(notebook: Path) -> None:
    """Otherwise a chapter that was run and saved in JupyterLab would count as changed."""
    text = notebook.read_text(encoding="utf-8")
    command = [sys.executable, REPOSITORY.root / ".ci" / "clean_notebook"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, encoding="utf-8", check=True)
    assert done.stdout == text, f"run: .ci/clean_notebook < notebooks/{notebook.name} > clean && mv clean notebooks/..."


def test_each_cell_has_its_own_id(notebook: Path) -> None:
    node = nbformat.read(notebook, as_version=nbformat.NO_CONVERT)
    assert (node.nbformat, node.nbformat_minor) >= (4, 5)
    ids = [cell.get("id") for cell in node.cells]
    assert all(ids)
    assert len(set(ids)) == len(ids)


def test_one_cell_is_tagged_parameters_and_defaults_to_quick(notebook: Path) -> None:
    tagged = [cell for cell in cells(notebook, "code") if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    values: dict[str, object] = {}
    exec(tagged[0].source, values)
    assert values["mode"] == "quick"
    assert values["__annotations__"]["mode"] in (str, "str")


def test_another_word_for_the_mode_is_refused(notebook: Path) -> None:
    """By the first cell behind the parameters, before anything is computed."""
    code = cells(notebook, "code")
    tagged = next(i for i, cell in enumerate(code) if "parameters" in cell.metadata.get("tags", []))
    assert "\ncheck_mode(mode)" in code[tagged + 1].source
    for word in ("Full", "fast", "", None):
        with pytest.raises(ValueError, match="'quick' or 'full'"):
            check_mode(word)


def test_there_is_at_least_as_much_prose_as_code(notebook: Path) -> None:
    assert len(cells(notebook, "markdown")) >= len(cells(notebook, "code"))


# ---- exercises: a code cell tagged `exercise` that checks what is in the place of `name = ...` or of a function whose
# last line is `...`; the next cell holds the solution, a ```python block folded in <details>


def exercises(path: Path) -> list[tuple[nbformat.NotebookNode, str]]:
    """The exercise cells of a notebook, each with the code of the solution that follows it."""
    everything = nbformat.read(path, as_version=4).cells
    found = []
    for cell, answer in zip(everything, everything[1:], strict=False):
        if "exercise" in cell.metadata.get("tags", []):
            block = re.search(r"<details>.*?```python\n(.*?)```.*?</details>", answer.source, re.DOTALL)
            assert block, f"{cell.id}: no solution in the cell below"
            found.append((cell, block[1]))
    return found


def filled_in(source: str, solution: str) -> str:
    """Put a solution in the place of the first gap of an exercise, and drop the other gaps."""
    lines = source.splitlines()
    gaps = [node for node in ast.parse(source).body if ast.unparse(node).endswith(("= ...", "\n    ..."))]
    assert gaps, "nothing to fill in"
    for node in reversed(gaps):
        lines[node.lineno - 1 : node.end_lineno] = [solution] if node is gaps[0] else []
    return "\n".join(lines)


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if exercises(path)], ids=lambda path: path.stem)
def test_exercises_wait_when_unfilled_and_their_solutions_are_right(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Run the whole notebook, on the embedded photographs, with every solution behind its exercise."""
    monkeypatch.delenv("WECONVENE_DATA", raising=False)
    monkeypatch.setenv("WECONVENE_RESULTS", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY.root))
    node = nbformat.read(path, as_version=4)
    solutions = {cell.id: filled_in(cell.source, solution) for cell, solution in exercises(path)}
    for i in reversed(range(len(node.cells))):
        if (name := node.cells[i].id) in solutions:
            node.cells.insert(i + 1, nbformat.v4.new_code_cell(solutions[name], id=f"solved-{name}"))
    NotebookClient(node, timeout=300, kernel_name="python3", resources={"metadata": {"path": path.parent}}).execute()
    outputs = {cell.id: cell.outputs for cell in node.cells if cell.cell_type == "code"}
    said = {name: "".join(o.get("text", "") for o in found).lower() for name, found in outputs.items()}
    for name in solutions:
        assert "fill in" in said[name], name
        assert "right" in said[f"solved-{name}"], name


@pytest.mark.parametrize("path", [path for path in NOTEBOOKS if exercises(path)], ids=lambda path: path.stem)
def test_a_chapter_is_short_and_fits_a_page(path: Path) -> None:
    """Prose without answers and solutions has at most 2,000 words, and code at most 88 columns."""
    prose = "\n".join(cell.source for cell in cells(path, "markdown"))
    assert len(re.sub(r"<details>.*?</details>", "", prose, flags=re.DOTALL).split()) <= 2000
    wide = [line for cell in cells(path, "code") for line in cell.source.splitlines() if len(line) > 88]
    assert wide == []
    folder, links = path.parent, re.findall(r"\]\((?!http)([^)#]+)", prose)
    assert [link for link in links if not (folder / link).exists()] == []


@pytest.mark.parametrize(
    "path", sorted((REPOSITORY.published / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem
)
def test_links_of_a_published_copy_lead_to_files(path: Path) -> None:
    node = nbformat.read(path, as_version=4)
    texts = [cell.source for cell in node.cells if cell.cell_type == "markdown"]
    texts += [o.data.get("text/markdown", "") for c in node.cells for o in c.get("outputs", []) if "data" in o]
    links = re.findall(r"\]\((?!http)([^)#]+)", "\n".join(texts))
    assert [link for link in links if not (path.parent / link).exists()] == []
