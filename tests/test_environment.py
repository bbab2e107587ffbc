"""pyproject.toml, requirements.lock and environment.yml name the same packages, with hashes and without addresses."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lab.paths import ROOT
from weconvene_core.version import VERSION

CONDA_NAMES = {"torch": "pytorch", "build": "python-build"}  # the name on conda-forge, where it differs
CONDA_BOUNDS = {"numpy": "<2"}  # what compressai, which pip installs afterwards, asks for
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
HASHES = r"(?:    --hash=sha256:[0-9a-f]{64}[ \\]*\n)+"
LOCKED = re.compile(rf"^([A-Za-z0-9._-]+)==([^\s;\\]+)[^\n]*\\\n{HASHES}", re.MULTILINE)


def declared() -> dict[str, Requirement]:
    extras = PROJECT["optional-dependencies"]
    lines = PROJECT["dependencies"] + [line for name in ("train", "notebooks", "dev") for line in extras[name]]
    found = {canonicalize_name(r.name): r for r in map(Requirement, lines)}
    return {name: requirement for name, requirement in found.items() if name != PROJECT["name"]}


def locked_versions() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, version in LOCKED.findall(LOCK):
        found.setdefault(canonicalize_name(name), []).append(version)
    return found


def conda_requirements() -> dict[str, Requirement]:
    entries = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    pip = next(entry["pip"] for entry in entries if isinstance(entry, dict))
    lines = [entry for entry in entries if isinstance(entry, str)] + [line for line in pip if not line.startswith("-e")]
    lines = [re.sub(r"(?<![=<>!])=(?!=)", "==", line) for line in lines]  # conda's python=3.11
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


@pytest.mark.parametrize("name", sorted(declared()))
def test_each_declared_package_is_locked_within_its_bounds(name: str) -> None:
    versions = locked_versions().get(name)
    assert versions, f"{name} is not in requirements.lock: run make lock"
    assert all(declared()[name].specifier.contains(version) for version in versions)


@pytest.mark.parametrize("name", sorted(declared()))
def test_each_declared_package_is_in_the_conda_environment_with_the_same_bounds(name: str) -> None:
    conda = conda_requirements()
    known_as = CONDA_NAMES.get(name, name)
    assert known_as in conda, f"add {known_as} to environment.yml"
    assert conda[known_as].specifier == declared()[name].specifier & CONDA_BOUNDS.get(name, "")


def test_the_conda_environment_names_nothing_else() -> None:
    expected = {CONDA_NAMES.get(name, name) for name in declared()} | {"python", "pip"}
    assert set(conda_requirements()) == expected


def test_the_core_caps_nothing_and_needs_nothing_heavy() -> None:
    core = [Requirement(line) for line in PROJECT["dependencies"]]
    assert not [str(r) for r in core if any(spec.operator in ("<", "<=", "==", "~=") for spec in r.specifier)]
    assert not {"compressai", "torchvision", "pydantic", "scipy", "pandas", "matplotlib"} & {r.name for r in core}


def test_the_citation_states_the_version() -> None:
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == VERSION


def test_the_conda_python_is_one_that_the_package_accepts() -> None:
    (version,) = (spec.version for spec in conda_requirements()["python"].specifier)
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(version)


def test_every_locked_package_has_hashes() -> None:
    entries = re.findall(r"^[A-Za-z0-9][^\n]*", LOCK, re.MULTILINE)
    assert len(LOCKED.findall(LOCK)) == len(entries) > 100


def test_the_lock_names_no_address_and_no_path() -> None:
    unwanted = re.findall(r"^.*(?:://|--index|--extra-index|--find-links|(?:^|\s)/|\s@\s).*$", LOCK, re.MULTILINE)
    assert unwanted == []
