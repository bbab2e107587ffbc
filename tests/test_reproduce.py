"""Running notebooks for real in a small tree: what makes one run again, and what an interruption leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import nbformat
import pytest

from lab.reproduce import provenance
from lab.reproduce.input_digest import input_digest
from lab.reproduce.run_notebooks import reproduce, run_all, select
from lab.reproduce.run_records import Tree, read_stamp
from weconvene_core.atomic_files import sha256_of, write_text
from weconvene_core.errors import WeconveneError
from weconvene_core.paths import ROOT

WRITE_A_TABLE = "from pathlib import Path\nPath('../results/tables').mkdir(parents=True, exist_ok=True)\n"


RUN = """
import pathlib, sys
from lab.reproduce.run_notebooks import Tree, reproduce
reproduce("quick", tree=Tree(pathlib.Path(sys.argv[1])))
"""


def write_notebook(path: Path, code: str, needs: Sequence[str] = ()) -> None:
    parameters = nbformat.v4.new_code_cell('mode: str = "quick"\nseed: int = 3', metadata={"tags": ["parameters"]})
    node = nbformat.v4.new_notebook(cells=[parameters, nbformat.v4.new_code_cell(code)])
    if needs:
        node.metadata["needs"] = list(needs)
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(node, path)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    monkeypatch.delenv("WECONVENE_DATA", raising=False)
    monkeypatch.setenv("WECONVENE_CACHE", str(tmp_path / "downloads"))
    texts = {
        "pyproject.toml": (ROOT / "pyproject.toml").read_text(),
        "requirements.lock": "numpy==1.26.4\n",
        "weconvene_core/layers/weconv.py": "GAIN = 1\n",
        "data/anchors/kodak.csv": "codec,bpp\n",
        "data/checkpoints/lite.safetensors": "weights",
        "data/registry.csv": "name,url\n",
        "data/claims.csv": "id,claim,tier,paper,expected,tolerance,notebook,table,select,column,cost\n",
        "README.md": "not an input\n",
    }
    for name, text in texts.items():
        write_text(tmp_path / name, text)
    first = f"{WRITE_A_TABLE}Path('../results/tables/rates.csv').write_text(f'mode,bpp\\n{{mode}},1.5\\n')\nPath.cwd()"
    write_notebook(tmp_path / "notebooks/01_rates.ipynb", first)
    write_notebook(tmp_path / "notebooks/02_curves.ipynb", "print(Path := 'nothing written')")
    return Tree(tmp_path)


def digest(tree: Tree, mode: str = "quick") -> str:
    return input_digest(tree, tree.notebooks[0], mode)


def never(path: Path) -> bool:
    return False


INPUTS = [
    "weconvene_core/layers/weconv.py",
    "data/anchors/kodak.csv",
    "data/checkpoints/lite.safetensors",
    "data/registry.csv",
    "requirements.lock",
]


@pytest.mark.parametrize("name", INPUTS)
def test_the_digest_follows_the_content_of_each_input(tree: Tree, name: str) -> None:
    before, text = digest(tree), (tree.root / name).read_text()
    write_text(tree.root / name, text + "# changed\n")
    assert digest(tree) != before
    write_text(tree.root / name, text)
    assert digest(tree) == before


@pytest.mark.parametrize("name", ["weconvene_core/new.py", "data/checkpoints/tiny.json", "data/anchors/clic.csv"])
def test_the_digest_follows_new_files(tree: Tree, name: str) -> None:
    before = digest(tree)
    write_text(tree.root / name, "{}")
    assert digest(tree) != before


@pytest.mark.parametrize("name", ["README.md", "results/figures/rd.svg", "data/checkpoints/training/step.pt"])
def test_the_digest_ignores_what_does_not_count(tree: Tree, name: str) -> None:
    before = digest(tree)
    write_text(tree.root / name, "something else")
    os.utime(tree.root / INPUTS[0], (1, 1))
    assert digest(tree) == before


def test_the_digest_follows_the_mode(tree: Tree) -> None:
    assert digest(tree, "full") != digest(tree, "quick")


def test_the_digest_follows_the_images_offered_but_not_where_they_lie(
    tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [digest(tree)]
    for place in ("here/photos", "there/photos"):
        write_text(tmp_path / place / "kodak/kodim01.png", "pixels")
        monkeypatch.setenv("WECONVENE_DATA", str(tmp_path / place))
        found.append(digest(tree))
    write_text(tmp_path / "there/photos/kodak/kodim02.png", "pixels")
    found.append(digest(tree))
    monkeypatch.setenv("WECONVENE_DATA", str(tmp_path / "nowhere"))
    found.append(digest(tree))
    write_text(tmp_path / "downloads/kodak/kodim01.png", "pixels")
    found.append(digest(tree))
    assert found[1] == found[2]
    assert len(set(found)) == 5


def test_the_digest_sees_the_notebooks_cells_but_not_their_outputs(tree: Tree) -> None:
    path, before = tree.notebooks[0], digest(tree)
    node = nbformat.read(path, as_version=4)
    node.cells[1].outputs = [nbformat.v4.new_output("stream", text="1.5\n")]
    node.cells[1].execution_count = 7
    nbformat.write(node, path)
    assert digest(tree) == before
    node.cells[1].source += "\nprint(1)"
    nbformat.write(node, path)
    assert digest(tree) != before


def test_a_finished_run_is_recorded_and_not_repeated(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce("quick", tree=tree) == 0
    stamp = read_stamp(tree, "01_rates")
    assert stamp is not None
    assert stamp.artifacts == {"results/tables/rates.csv": sha256_of(tree.results / "tables/rates.csv")}
    assert stamp.parameters == {"mode": "quick", "seed": "3"}
    assert stamp.seconds > 0
    assert str(tree.root) not in (tree.executed / "01_rates.ipynb").read_text()
    manifest = json.loads(tree.manifest.read_text())
    assert manifest["files"]["results/tables/rates.csv"]["notebook"] == "01_rates"
    assert manifest["notebooks"]["01_rates"]["environment"]["weconvene_data"] is False
    capsys.readouterr()
    assert reproduce("quick", tree=tree) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("Nothing to do: 2 notebooks")


def test_another_mode_or_an_altered_table_runs_what_it_concerns(tree: Tree) -> None:
    table = tree.results / "tables/rates.csv"
    assert run_all(tree, tree.notebooks, "quick", never).finished == 2
    table.write_text("mode,bpp\nquick,0.1\n")
    assert run_all(tree, tree.notebooks, "quick", never).finished == 1
    assert table.read_text() == "mode,bpp\nquick,1.5\n"
    assert run_all(tree, tree.notebooks, "full", never).finished == 2
    assert table.read_text() == "mode,bpp\nfull,1.5\n"


def test_a_failing_cell_is_named_and_the_run_goes_on_from_there(tree: Tree) -> None:
    code = "from pathlib import Path\nif not Path('../go').exists():\n    raise OSError('no go')"
    write_notebook(tree.notebooks[1], code)
    failing = nbformat.read(tree.notebooks[1], as_version=4).cells[1].id
    with pytest.raises(WeconveneError, match=rf"02_curves stopped in the cell {failing} .*OSError: no go") as caught:
        run_all(tree, tree.notebooks, "quick", never).raise_failures()
    assert "\n" not in str(caught.value)
    (tree.root / "go").touch()
    ran: list[str] = []
    assert run_all(tree, tree.notebooks, "quick", never, ran.append).finished == 1
    assert all("02_curves" in line for line in ran)


def test_a_failure_costs_what_reads_its_tables_and_nothing_else(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    write_notebook(tree.notebooks_folder / "03_rest.ipynb", "import warnings\nwarnings.warn('one curve is left out')")
    write_notebook(tree.notebooks[1], "print('read')", needs=["01_rates"])
    assert reproduce("quick", tree=tree) == 0
    assert "03_rest: " in (said := capsys.readouterr().out)
    assert "  warning: one curve is left out\n" in said
    write_notebook(tree.notebooks[0], "raise OSError('no photographs')")
    with pytest.raises(WeconveneError, match=r"01_rates stopped .* 02_curves is left out: it reads the tables of 01_r"):
        reproduce("quick", force=True, tree=tree)
    assert [stem for stem in ("01_rates", "02_curves", "03_rest") if read_stamp(tree, stem)] == ["03_rest"]
    said = capsys.readouterr().out
    assert "[2/3] 02_curves: left out, since 01_rates failed" in said
    assert "[3/3] 03_rest: " in said
    assert "certificate.csv" in said


MERGE = f"""{WRITE_A_TABLE}
table = Path("../results/tables/rates.csv")
old = table.read_text() if table.exists() else "mode,bpp\\n"
table.write_text(old + f"{{mode}},1.5\\n")
if Path("../stop").exists():
    raise OSError("stopped after writing")
"""


def test_no_row_of_an_earlier_run_stays_in_a_table_and_a_failed_run_leaves_the_table_as_it_was(tree: Tree) -> None:
    write_notebook(tree.notebooks[0], MERGE)
    table = tree.results / "tables/rates.csv"
    run_all(tree, tree.notebooks[:1], "full", never)
    for stamp in tree.executed.glob("*.json"):
        stamp.unlink()  # as in a clone: tables and manifest are stored, stamps are not
    run_all(tree, tree.notebooks[:1], "quick", never)
    assert table.read_text() == "mode,bpp\nquick,1.5\n"
    (tree.root / "stop").touch()
    assert "stopped after writing" in run_all(tree, tree.notebooks[:1], "full", never).failures["01_rates"]
    assert table.read_text() == "mode,bpp\nquick,1.5\n"
    assert not list((tree.results / "scratch").rglob("*.csv"))


PER_MODE = f"""{WRITE_A_TABLE}
tables = Path("../results/tables")
(tables / f"rates_{{mode}}.csv").write_text(mode)
print(*sorted(path.name for path in tables.glob("rates_*")))
"""


def test_a_quick_run_sees_and_keeps_the_table_of_the_full_run(tree: Tree) -> None:
    write_notebook(tree.notebooks[0], PER_MODE)
    for mode in ("full", "quick"):
        run_all(tree, tree.notebooks[:1], mode, lambda path: True)
    tables = tree.results / "tables"
    assert [(tables / f"rates_{mode}.csv").read_text() for mode in ("full", "quick")] == ["full", "quick"]
    assert "rates_full.csv rates_quick.csv" in (tree.executed / "01_rates.ipynb").read_text()


def test_a_clone_keeps_the_record_of_the_runs_that_its_results_came_from(tree: Tree) -> None:
    run_all(tree, tree.notebooks, "quick", never)
    tree.stamp_path("01_rates").unlink()
    tree.stamp_path("02_curves").unlink()
    run_all(tree, tree.notebooks[1:], "quick", never)
    manifest = json.loads(tree.manifest.read_text())
    assert manifest["files"]["results/tables/rates.csv"]["notebook"] == "01_rates"
    (tree.results / "tables/rates.csv").write_text("edited")
    assert provenance.manifest(tree)["files"]["results/tables/rates.csv"]["notebook"] is None


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_killed_run_is_not_taken_for_done(tree: Tree) -> None:
    wait = "import pathlib, time\nwhile not pathlib.Path('../go').exists():\n    time.sleep(.05)\nprint('end')"
    write_notebook(tree.notebooks[1], wait)
    process = subprocess.Popen([sys.executable, "-c", RUN, str(tree.root)], cwd=ROOT, stdout=subprocess.DEVNULL)
    wait_for(lambda: (tree.executed / "02_curves.partial.ipynb").exists())
    process.kill()
    process.wait()
    assert read_stamp(tree, "01_rates") is not None
    assert read_stamp(tree, "02_curves") is None
    assert not (tree.executed / "02_curves.ipynb").exists()
    (tree.root / "go").touch()
    assert run_all(tree, tree.notebooks, "quick", never).finished == 1
    assert "end" in (tree.executed / "02_curves.ipynb").read_text()


def test_names_pick_notebooks(tree: Tree) -> None:
    assert [path.stem for path in select(tree, ["02"])] == ["02_curves"]
    assert [path.stem for path in select(tree, ["notebooks/01_rates.ipynb"])] == ["01_rates"]
    with pytest.raises(WeconveneError, match="no notebook is called '07'"):
        select(tree, ["07"])


def test_an_unknown_mode_is_refused(tree: Tree) -> None:
    with pytest.raises(WeconveneError, match="unknown mode 'fast'"):
        reproduce("fast", tree=tree)


def test_executed_copies_are_kept_small() -> None:
    from base64 import b64decode, b64encode
    from io import BytesIO

    import numpy as np
    from nbformat.v4 import new_code_cell, new_notebook, new_output
    from PIL import Image

    from lab.reproduce.compact import compact

    photograph = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8)).save(photograph, "PNG")
    bar = [new_output("stream", name="stderr", text=f"\r{i}/3 done") for i in range(4)]
    figure = new_output("display_data", data={"image/png": b64encode(photograph.getvalue()).decode()})
    node = new_notebook(cells=[new_code_cell("", outputs=[*bar, figure])])
    compact(node)
    text, picture = node.cells[0].outputs
    assert text.text == "3/3 done"
    assert set(picture.data) == {"image/jpeg"}
    assert Image.open(BytesIO(b64decode(picture.data["image/jpeg"]))).size == (300, 300)
