"""Where every result came from: code, versions, machine, cost and checksums, in ``results/manifest.json``."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import tomllib
from dataclasses import asdict
from functools import lru_cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from lab.reproduce.run_records import REPOSITORY, Tree, experiment_of, recorded_runs, writers
from weconvene_core.atomic_files import sha256_of, write_text
from weconvene_core.datasets.registry import cache_folder
from weconvene_core.paths import data_folder
from weconvene_core.version import git_version


def images_offered() -> str:
    """Identify the images at hand by names and sizes, not by their place: those of ``WECONVENE_DATA`` and downloads."""
    found: list[object] = []
    for folder in (data_folder(), cache_folder("")):
        files = folder.glob("*/*") if folder and folder.is_dir() else ()
        found.append(sorted((p.relative_to(folder).as_posix(), p.stat().st_size) for p in files if p.is_file()))
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]


def declared_packages(root: Path) -> list[str]:
    """Return the names of the packages that ``pyproject.toml`` asks for, extras left out."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in project["dependencies"]]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def cpu_model() -> str:
    """Return the processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@lru_cache
def _machine(root: Path) -> dict[str, object]:
    accelerator, torch_version = None, Path(find_spec("torch").origin).with_name("version.py")
    if Path("/dev/nvidiactl").exists():  # torch takes seconds to import, so only where it can find something
        import torch

        accelerator = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "threads": int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1),
        "accelerator": accelerator,
        "torch_build": re.findall(r"__version__ = '(.+)'", torch_version.read_text(encoding="utf-8"))[0],
        "packages": {name: _version(name) for name in declared_packages(root)},
    }


def environment(tree: Tree = REPOSITORY) -> dict[str, object]:
    """Return code version, interpreter, packages, processor, threads, and whether ``WECONVENE_DATA`` is a folder."""
    images = data_folder()
    return {
        "git": git_version(tree.root),
        **_machine(tree.root),
        "weconvene_data": images is not None and images.is_dir(),
    }


def manifest(tree: Tree = REPOSITORY) -> dict[str, object]:
    """Return every finished notebook's provenance and every file of figures and tables with sha256 and writer.

    A notebook that has not run here keeps the record of the run elsewhere that the results came with. A file that no
    recorded run wrote, or that changed since, has ``notebook: null``; the table of a long experiment has the
    ``command`` that makes it instead.
    """
    runs = recorded_runs(tree)
    owners = writers(runs)
    files: dict[str, dict[str, object]] = {}
    for path in tree.artifacts():
        name, checksum, experiment = tree.relative(path), sha256_of(path), experiment_of().get(path.name)
        known = experiment is None and name in owners and owners[name].artifacts[name] == checksum
        files[name] = {
            "sha256": checksum,
            "bytes": path.stat().st_size,
            "notebook": owners[name].notebook if known else None,
        } | ({"command": f"make table NAME={experiment}"} if experiment else {})
    records = {stem: {k: v for k, v in asdict(runs[stem]).items() if k != "notebook"} for stem in sorted(runs)}
    return {"files": files, "notebooks": records}


def write_manifest(tree: Tree = REPOSITORY) -> Path:
    """Write ``results/manifest.json`` and return its path."""
    write_text(tree.manifest, json.dumps(manifest(tree), indent=1, ensure_ascii=False) + "\n")
    return tree.manifest
