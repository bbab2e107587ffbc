"""The notebooks as they are stored: stripped, addressable, with parameters, and with more prose than code."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

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


def test_there_is_at_least_as_much_prose_as_code(notebook: Path) -> None:
    assert len(cells(notebook, "markdown")) >= len(cells(notebook, "code"))
