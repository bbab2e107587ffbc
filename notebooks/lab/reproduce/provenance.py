"""Where every result came from: code, versions, machine, cost and checksums, in ``results/manifest.json``."""

from __future__ import annotations

import json
import platform
import re
import tomllib
from dataclasses import asdict
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from lab.reproduce.long_measurements import command_of
from lab.reproduce.run_records import REPOSITORY, Tree, recorded_runs, writers
from weconvene_core.atomic_files import sha256_of, write_text
from weconvene_core.paths import data_folder
from weconvene_core.version import git_version


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
    import torch  # here, so that "nothing to do" does not wait for it

    accelerator = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "threads": torch.get_num_threads(),
        "accelerator": accelerator,
        "torch_build": torch.__version__,
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
    recorded run wrote, or that changed since, has ``notebook: null``; the table of a long measurement has the
    ``command`` that makes it instead.
    """
    runs = recorded_runs(tree)
    owners = writers(runs)
    files: dict[str, dict[str, object]] = {}
    for path in tree.artifacts():
        name, checksum = tree.relative(path), sha256_of(path)
        command = command_of(path.name)
        known = command is None and name in owners and owners[name].artifacts[name] == checksum
        writer = owners[name].notebook if known else None
        files[name] = {"sha256": checksum, "bytes": path.stat().st_size, "notebook": writer}
        if command is not None:
            files[name]["command"] = command
    records = {stem: {k: v for k, v in asdict(runs[stem]).items() if k != "notebook"} for stem in sorted(runs)}
    return {"files": files, "notebooks": records}


def write_manifest(tree: Tree = REPOSITORY) -> Path:
    """Write ``results/manifest.json`` and return its path."""
    write_text(tree.manifest, json.dumps(manifest(tree), indent=1, ensure_ascii=False) + "\n")
    return tree.manifest
