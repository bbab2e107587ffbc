"""Snakemake's rules: what is declared, what makes a notebook run again, and what a run leaves behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import nbformat
import pandas as pd
import pytest
import yaml

from lab.paths import PUBLISHED, ROOT
from lab.reproduce import run_notebook, run_records
from lab.reproduce.publish import publish
from lab.reproduce.run_notebook import run
from lab.reproduce.run_records import (
    REPOSITORY,
    RunRecord,
    Tree,
    altered,
    forget_void,
    images_offered,
    manifest,
    read_record,
    write_record,
)
from weconvene_core.atomic_files import sha256_of, write_text
from weconvene_core.errors import WeconveneError

WORKFLOW = yaml.safe_load((ROOT / "notebooks" / "workflow.yaml").read_text(encoding="utf-8"))
NOTEBOOKS, EXPERIMENTS = WORKFLOW["notebooks"], WORKFLOW["experiments"]
IGNORED = shutil.ignore_patterns("__pycache__", ".snakemake", ".ipynb_checkpoints", "*.safetensors")
RATES = """
from pathlib import Path
import warnings
warnings.warn("one curve is left out")
folder = Path("../results/run/tables")
folder.mkdir(parents=True, exist_ok=True)
(folder / "rates.csv").write_text(f"mode,bpp\\n{mode},1.5\\n")
(folder / "other.csv").write_text("of another notebook")
if Path("../stop").exists():
    raise OSError("stopped after writing")
print(Path.cwd())
"""


# ---- what is declared


def test_every_notebook_is_a_rule() -> None:
    assert list(NOTEBOOKS) == [path.stem for path in REPOSITORY.notebooks]


def test_every_table_has_one_maker() -> None:
    made = [name for spec in NOTEBOOKS.values() for name in spec.get("tables", ())]
    made += [table for spec in EXPERIMENTS.values() for table in spec["tables"]]
    assert len(made) == len(set(made))
    assert {path.stem for path in (PUBLISHED / "tables").iterdir()} <= {*made, *WORKFLOW["earlier"]}
    assert {name for spec in NOTEBOOKS.values() for name in spec.get("reads", ())} <= {*made, *WORKFLOW["earlier"]}


@pytest.mark.parametrize("stem", NOTEBOOKS)
def test_a_notebook_declares_the_tables_that_it_names(stem: str) -> None:
    code = " ".join(cell.source for cell in nbformat.read(ROOT / f"notebooks/{stem}.ipynb", 4).cells
                    if cell.cell_type == "code")  # fmt: skip
    spec = NOTEBOOKS[stem]
    written = {*re.findall(r'save_table\([^"]*"(\w+)"', code)}
    read = {*re.findall(r'(?:read_table|table_path)\("(\w+)"', code)}
    assert written == {*spec.get("tables", ())}
    assert read <= {*spec.get("tables", ()), *spec.get("reads", ())}


def test_every_figure_belongs_to_one_notebook() -> None:
    for path in (PUBLISHED / "figures").iterdir():
        owners = [s for s, spec in NOTEBOOKS.items() if any(path.match(f"figures/{p}") for p in spec["figures"])]
        assert len(owners) == 1, path.name


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_commands_of_an_experiment_exist(name: str) -> None:
    assert all(find_spec(command.split()[0]) for command in EXPERIMENTS[name]["commands"])
    assert name not in NOTEBOOKS


# ---- what Snakemake does


def snakemake(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "snakemake", "--snakefile", "notebooks/Snakefile", *words]
    variables = {**os.environ, "WECONVENE_DATA": "", "WECONVENE_CACHE": str(root / "downloads")}
    return subprocess.run(command, cwd=root, env=variables, capture_output=True, text=True)


def planned(root: Path, *words: str) -> set[str]:
    """The rules that a dry run would run."""
    done = snakemake(root, "--dry-run", *words)
    assert done.returncode == 0, done.stderr + done.stdout
    jobs = re.findall(r"^job +count\n-+ +-+\n(.*?)\ntotal", done.stdout + done.stderr, re.M | re.S)
    return {line.split()[0] for line in jobs[-1].splitlines()} if jobs else set()


def at_time(root: Path, seconds: int) -> None:
    for path in root.rglob("*"):
        if path.is_file() and ".snakemake" not in path.parts:
            os.utime(path, (seconds, seconds))


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what decides what runs, with the times of files equal, as a clone may have them."""
    root = tmp_path_factory.mktemp("clone")
    for name in ("weconvene_core", "notebooks", "data", "results/tables"):
        shutil.copytree(ROOT / name, root / name, ignore=IGNORED)
    shutil.copyfile(ROOT / "requirements.lock", root / "requirements.lock")
    at_time(root, 1_700_000_000)
    return root


@pytest.mark.slow
def test_a_fresh_clone_runs_every_notebook_and_no_experiment_and_a_second_run_nothing(clone: Path) -> None:
    everything = {*NOTEBOOKS, "certificate", "verdict", "all"}
    assert planned(clone) == everything
    for stem, spec in NOTEBOOKS.items():
        names = [f"results/run/tables/{name}.csv" for name in spec.get("tables", ())]
        for name in names:
            write_text(clone / name, "")
        written = {name: sha256_of(clone / name) for name in names}
        write_record(Tree(clone), RunRecord(stem, "quick", {}, 1.0, 1.0, "2026-01-01T00:00:00+00:00", written))
        (clone / f"results/run/notebooks/{stem}.ipynb").touch()
    for name in ("certificate.csv", "certificate.md", "manifest.json", ".certified"):
        (clone / "results/run" / name).touch()
    (clone / ".snakemake/metadata/of_a_run").parent.mkdir(parents=True, exist_ok=True)
    (clone / ".snakemake/metadata/of_a_run").touch()
    done = snakemake(clone, "--touch", "--cores", "1", "--forceall")  # as if all had run
    assert done.returncode == 0, done.stderr
    at_time(clone, 2_000_000_000)
    (clone / "weconvene_core" / "paths.py").touch()
    assert planned(clone) == set()  # contents count, not times
    source, text = clone / "weconvene_core" / "wavelets" / "dwt.py", ""
    text = source.read_text()
    source.write_text(text + "# changed\n")
    assert planned(clone) == everything
    source.write_text(text)
    table = clone / "results/tables/layer_speed.csv"
    table.write_text("measured,again\n")  # shown by notebook 02, and claims may rest on it
    assert planned(clone) == {"02_weconv_layer", "15_certificate", "certificate", "verdict", "all"}
    assert planned(clone, "--config", "mode=full") == everything


@pytest.mark.slow
def test_a_long_experiment_runs_when_it_is_asked_for(clone: Path) -> None:
    table = pd.read_csv(clone / "results/tables/recipe.csv", dtype={"settings": str})
    lost, *kept = table.settings
    table[table.settings != lost].to_csv(clone / "results/tables/recipe.csv", index=False)
    done = snakemake(clone, "--dry-run", "--force", "--printshellcmds", "exactness", "recipe")
    said = done.stdout + done.stderr
    assert "lab.studies.integer_path_cost rates" in said
    assert "--exclusive" in said  # it measures time
    assert f"lab.studies.training_recipe --only {lost}" in said  # a training is a job of its own
    assert not any(f"--only {settings}" in said for settings in kept)


@pytest.mark.slow
def test_an_unknown_mode_is_refused(clone: Path) -> None:
    done = snakemake(clone, "-n", "--config", "mode=fast")
    assert done.returncode == 1
    assert "unknown mode 'fast': use MODE=quick" in done.stdout + done.stderr


@pytest.mark.slow
def test_rules_run_for_real_and_a_number_that_is_not_the_releases_fails_the_run(clone: Path, tmp_path: Path) -> None:
    root = tmp_path
    for name in ("weconvene_core", "notebooks/lab", "notebooks/profiles", "data/anchors"):
        shutil.copytree(clone / name, root / name)
    for name in ("notebooks/Snakefile", "requirements.lock"):
        shutil.copyfile(clone / name, root / name)
    shutil.copyfile(ROOT / "pyproject.toml", root / "pyproject.toml")
    rules = {"01_rates": {"tables": ["rates"], "figures": []}, "02_curves": {"figures": []}}
    workflow = {"mode": "quick", "notebooks": rules, "experiments": {}, "earlier": []}
    (root / "notebooks/workflow.yaml").write_text(yaml.safe_dump(workflow))
    write_notebook(root / "notebooks/01_rates.ipynb", RATES)
    write_notebook(root / "notebooks/02_curves.ipynb", "raise OSError('no photographs')")
    rates = {"keys": ["mode"], "tolerance": {"bpp": 0.1}}
    claims = {"paper": [], "published": [], "within": 0.01, "release": {"rates": rates}}
    write_text(root / "data/claims.yaml", yaml.safe_dump(claims))
    write_text(root / "results/tables/rates.csv", "mode,bpp\nquick,9\n")
    published = sha256_of(root / "results/tables/rates.csv")

    done = snakemake(root, "--cores", "2")  # one that fails does not stop the others
    assert done.returncode == 1
    assert re.search(
        r"error: 02_curves stopped in the cell \S+ \(In \[\d+\]\) with OSError: no photographs\.", done.stderr
    )
    assert [stem for stem in rules if read_record(Tree(root), stem)] == ["01_rates"]

    write_notebook(root / "notebooks/02_curves.ipynb", "print('photographs')")
    done = snakemake(root, "--cores", "2")
    assert done.returncode == 1
    assert "error: rates differs from the release: 1 of 1 rows; bpp off by 7.5." in done.stderr
    assert (root / "results/run/certificate.csv").is_file()
    written = json.loads((root / "results/run/manifest.json").read_text())
    assert written["files"]["results/run/tables/rates.csv"]["notebook"] == "01_rates"

    claims["release"]["rates"]["tolerance"]["bpp"] = 8
    write_text(root / "data/claims.yaml", yaml.safe_dump(claims))
    assert planned(root) == {"certificate", "verdict", "all"}
    assert snakemake(root, "--cores", "2").returncode == 0
    assert planned(root) == set()
    assert sha256_of(root / "results/tables/rates.csv") == published  # a run writes nothing there
    (root / "results/run/tables/rates.csv").write_text("mode,bpp\nquick,0.1\n")
    assert "01_rates" in planned(root)  # an altered table is made again
    assert read_record(Tree(root), "01_rates") is None


def test_only_a_full_run_is_published_and_what_it_no_longer_draws_goes(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    write_text(tree.root / "notebooks/01_rates.ipynb", "{}")
    claims = {"paper": [], "published": [], "within": 0.01, "release": {"rates": {"keys": ["mode"], "tolerance": {}}}}
    write_text(tree.data / "claims.yaml", yaml.safe_dump(claims))
    write_text(tree.published / "figures/old.png", "old")
    write_text(tree.published / "tables/of_an_experiment.csv", "a\n1\n")
    write_text(tree.results / "figures/new.png", "new")
    write_text(tree.results / "tables/rates.csv", "mode,bpp\nfull,1.5\n")

    injected = {"cell_type": "code", "metadata": {"tags": ["injected-parameters"]}, "source": "mode = 'full'"}
    prose = {"cell_type": "markdown", "metadata": {}, "source": "[claims](../data/claims.yaml)"}
    write_text(tree.results / "notebooks/01_rates.ipynb", json.dumps({"cells": [injected, prose]}))
    files = {tree.relative(path): sha256_of(path) for path in tree.artifacts()}
    patterns = ["figures/*", "tables/rates.csv"]

    def ran(mode: str) -> None:
        run = RunRecord("01_rates", mode, {}, 1.0, 1.0, "2026-01-01T00:00:00+00:00", files, {}, patterns)
        write_record(tree, run)

    ran("quick")
    with pytest.raises(WeconveneError, match="01_rates did not run in full mode"):
        publish(tree=tree)
    assert (tree.published / "figures/old.png").is_file()
    ran("full")
    assert publish(tree=tree) == 6
    assert [path.name for path in (tree.published / "figures").iterdir()] == ["new.png"]
    assert {path.stem for path in (tree.published / "tables").iterdir()} == {"rates", "of_an_experiment"}
    assert "rates" in (tree.published / "certificate.csv").read_text()
    copy = tree.published / "notebooks/01_rates.ipynb"
    (cell,) = json.loads(copy.read_text())["cells"]
    assert (copy.parent / cell["source"].partition("(")[2].rstrip(")")).is_file()


# ---- one notebook


def write_notebook(path: Path, code: str) -> None:
    parameters = nbformat.v4.new_code_cell('mode: str = "quick"\nseed: int = 3', metadata={"tags": ["parameters"]})
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(code)]), path)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.delenv("WECONVENE_DATA", raising=False)
    monkeypatch.setattr(run_notebook, "environment", lambda tree: {"weconvene_data": False})
    write_notebook(tmp_path / "notebooks/01_rates.ipynb", RATES)
    return Tree(tmp_path)


def run_rates(tree: Tree) -> None:
    run(tree, tree.notebooks[0], "quick", ("tables/rates.csv", "figures/rd_*"))


def record_rates(tree: Tree) -> RunRecord:
    """The table and the record that a run leaves, without a kernel."""
    table = tree.results / "tables/rates.csv"
    write_text(table, "mode,bpp\nquick,1.5\n")
    record = RunRecord(
        "01_rates", "quick", {}, 1.0, 1.0, "2026-01-01T00:00:00+00:00", {tree.relative(table): sha256_of(table)}
    )
    write_record(tree, record)
    return record


@pytest.mark.slow
def test_a_finished_run_is_recorded(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    run_rates(tree)
    record = read_record(tree, "01_rates")
    assert record is not None
    assert record.artifacts == {"results/run/tables/rates.csv": sha256_of(tree.results / "tables/rates.csv")}
    assert record.parameters == {"mode": "quick", "seed": "3"}
    assert record.seconds > 0
    assert record.peak_memory_mb > 10
    assert str(tree.root) not in (tree.executed / "01_rates.ipynb").read_text()
    made = manifest(tree)
    assert made["files"]["results/run/tables/rates.csv"]["notebook"] == "01_rates"
    assert made["files"]["results/run/tables/other.csv"]["notebook"] is None
    assert made["notebooks"]["01_rates"]["environment"] == {"weconvene_data": False}
    assert "  warning: one curve is left out\n" in capsys.readouterr().out


@pytest.mark.slow
def test_results_may_lie_outside_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_records, "RUN", tmp_path / "elsewhere")
    tree = Tree()
    assert tree.results == tmp_path / "elsewhere"
    assert tree.table("rd_points") == PUBLISHED / "tables" / "rd_points.csv"
    assert tree.relative(tree.results) == (tmp_path / "elsewhere").as_posix()


def test_a_failing_cell_is_named_and_leaves_no_record_and_no_copy(tree: Tree) -> None:
    (tree.root / "stop").touch()
    failing = nbformat.read(tree.notebooks[0], as_version=4).cells[1].id
    with pytest.raises(WeconveneError, match=rf"01_rates stopped in the cell {failing} .*OSError: stopped") as caught:
        run_rates(tree)
    assert "\n" not in str(caught.value)
    assert read_record(tree, "01_rates") is None
    assert not list(tree.executed.glob("*"))


@pytest.mark.slow
def test_a_kernel_that_dies_is_told(tree: Tree) -> None:
    write_notebook(tree.notebooks[0], "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(WeconveneError, match="the kernel of 01_rates stopped before the last cell"):
        run_rates(tree)


def test_a_record_is_void_when_results_are_not_as_they_were(tree: Tree) -> None:
    table, notes = tree.results / "tables/rates.csv", tree.root / ".snakemake/metadata"
    declared = {"01_rates": ["results/run/tables/rates.csv"]}
    notes.mkdir(parents=True)
    (notes / "of_a_run").touch()
    record = record_rates(tree)

    def is_kept(tables: dict[str, list[str]] = declared) -> bool:
        write_record(tree, record)
        forget_void(tree, tables)
        return read_record(tree, "01_rates") is not None

    assert is_kept()
    assert not is_kept({"01_rates": ["results/run/tables/more.csv"]})  # which it did not write
    table.write_text("mode,bpp\nquick,0.1\n")
    assert altered(tree, record) == ["results/run/tables/rates.csv"]
    assert not is_kept()
    table.unlink()
    assert not is_kept()
    record_rates(tree)
    (notes / "of_a_run").unlink()
    assert not is_kept()


def test_images_are_told_by_name_and_size_and_not_by_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WECONVENE_CACHE", str(tmp_path / "downloads"))
    monkeypatch.delenv("WECONVENE_DATA", raising=False)
    found = [images_offered()]

    def put(name: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("pixels")

    for place in ("here/photos", "there/photos"):
        put(f"{place}/kodak/kodim01.png")
        monkeypatch.setenv("WECONVENE_DATA", str(tmp_path / place))
        found.append(images_offered())
    put("there/photos/kodak/kodim02.png")
    found.append(images_offered())
    put("downloads/kodak/kodim01.png")
    found.append(images_offered())
    assert found[1] == found[2]
    assert len(set(found)) == 4
