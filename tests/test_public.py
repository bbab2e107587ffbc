"""What stands beside the code: version and citation, hooks, the workflow, the forms, the model card's front matter."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import weconvene_core
from lab.paths import ROOT
from lab.reproduce.fill_readme import CARD, rendered

CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[0-9]*.yml"))


def test_citation_zenodo_changelog_and_package_state_one_version() -> None:
    zenodo = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))
    newest = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)[0]
    assert CITATION["version"] == zenodo["version"] == newest == weconvene_core.__version__


def test_zenodo_says_what_the_citation_says() -> None:
    zenodo = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))
    assert [zenodo[key] for key in ("title", "license", "keywords")] == [
        CITATION[key] for key in ("title", "license", "keywords")
    ]
    assert zenodo["description"] == CITATION["abstract"]
    assert [creator["name"] for creator in zenodo["creators"]] == [author["name"] for author in CITATION["authors"]]
    (paper,) = CITATION["preferred-citation"]["identifiers"]
    assert [related["identifier"] for related in zenodo["related_identifiers"]] == [paper["value"]]


def test_hooks_and_workflow_take_the_locked_versions() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"][0]["hooks"]
    wanted = {package for hook in hooks for package in hook["additional_dependencies"]}
    wanted |= set(re.findall(r"\buv==[\d.]+", WORKFLOW))
    assert {package.split("==")[0] for package in wanted} == {"ruff", "nbstripout", "uv"}
    assert all(re.search(rf"^{re.escape(package)}\b", lock, re.MULTILINE) for package in wanted)


def test_the_workflow_pins_what_it_runs_and_its_scripts_are_there() -> None:
    jobs = yaml.safe_load(WORKFLOW)["jobs"]
    assert all("timeout-minutes" in job for job in jobs.values())
    used = re.findall(r"uses: (.+)", WORKFLOW)
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v[\d.]+", action) for action in used)
    scripts = {ROOT / name for name in re.findall(r"run: .*?(\.ci/\w[\w.]*)", WORKFLOW)}
    assert [path.name for path in sorted(scripts) if not path.is_file()] == []
    assert all(os.access(path, os.X_OK) for path in scripts if path.suffix != ".py")


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_forms_ask_for_something_under_names_of_their_own(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= form.keys()
    identities = [field["id"] for field in form["body"]]
    assert len(identities) == len(set(identities)) > 0


def test_the_front_matter_of_the_model_card_survives_its_filling() -> None:
    _, front, text = rendered(CARD).split("---\n", 2)
    facts = yaml.safe_load(front)
    assert facts["license"] == CITATION["license"].lower()
    assert {"tags", "datasets", "metrics", "pipeline_tag", "library_name"} <= facts.keys()
    assert text.lstrip().startswith("# Model card of `lite`")


def test_the_public_address_is_written_everywhere_and_once(tmp_path: Path) -> None:
    for name in ("README.md", "hubconf.py", "CITATION.cff", "pyproject.toml", ".ci/address"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns("lab", ".*"))
    command = [sys.executable, tmp_path / ".ci" / "address"]
    subprocess.run([*command, "first/try"], check=True)
    subprocess.run([*command, "some/where"], check=True)
    texts = {path: path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file()}
    assert [path.name for path, text in texts.items() if "first/try" in text] == []
    url = "https://github.com/some/where"
    assert yaml.safe_load(texts[tmp_path / "CITATION.cff"])["repository-code"] == url
    assert tomllib.loads(texts[tmp_path / "pyproject.toml"])["project"]["urls"]["Repository"] == url
    readme = texts[tmp_path / "README.md"]
    assert f"git clone --depth 1 {url} weconvene" in readme
    assert re.findall(r"/gh/([\w/]+)/HEAD|/github/([\w/]+)/blob", readme) == [("some/where", ""), ("", "some/where")]
    for path in (path for path in texts if path.suffix == ".ipynb"):
        cells = json.loads(texts[path])["cells"]
        assert [i for i, cell in enumerate(cells) if url in "".join(cell["source"])] == [1]
        assert [cells[0], *cells[2:]] == json.loads((ROOT / "notebooks" / path.name).read_text("utf-8"))["cells"]
    done = subprocess.run([*command, "no address"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert ".ci/address OWNER/NAME" in done.stderr


def test_container_and_binder_install_what_is_locked() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
    assert container["postCreateCommand"] == "make setup TORCH=cpu"
    assert os.access(ROOT / ".binder" / "postBuild", os.X_OK)
    assert "make setup ENV=active TORCH=cpu" in (ROOT / ".binder" / "postBuild").read_text(encoding="utf-8")
