"""The notebooks as they are stored: stripped, addressable, with parameters, and with more prose than code."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

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


def test_outputs_are_stripped(notebook: Path) -> None:
    kept = [cell.id for cell in cells(notebook, "code") if cell.outputs or cell.execution_count is not None]
    assert kept == [], f"run: nbstripout --keep-id notebooks/{notebook.name}"


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
