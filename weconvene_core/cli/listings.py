"""What only lists: compressed files, trained models, image sets. Nothing here loads torch, which takes seconds."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from weconvene_core.cli.commands import COMPRESSED, failed, inside, read
from weconvene_core.errors import CorruptFileError, WeconveneError
from weconvene_core.paths import CHECKPOINTS, checkpoints, data_folder

Facts = dict[str, Any]
SHOWN = ("file", "bytes", "bpp", "width", "height", "mode", "quality", "complete")  # of several files


def info(arguments: argparse.Namespace) -> int:
    """Print what compressed files say of themselves; a cut one does so too, and is reported."""
    codes, rows = [], []
    inputs: list[Path] = arguments.inputs
    paths = [path for one in inputs for path in (inside(one) if one.is_dir() else [one])]
    paths = [path for path in paths if path.suffix.lower() == COMPRESSED or path in inputs or path.is_dir()]
    if not paths:
        raise WeconveneError(f"There is no {COMPRESSED} file in {', '.join(map(str, inputs))}: name others.")
    for path in paths:
        try:
            facts, size = _facts(path)
        except (WeconveneError, OSError) as error:
            if len(paths) == 1:
                raise
            codes.append(failed(path, error))
            continue
        rows.append(facts if arguments.json or len(paths) == 1 else {name: facts[name] for name in SHOWN})
        if not facts["complete"]:
            cut = f"it is cut: {facts['bytes']} of its {size} bytes are there; fetch it again, or look at what there is"
            codes.append(failed(path, CorruptFileError(f"{cut} with decode --preview.")))
    _print(rows, arguments.json)
    return min(codes, default=0)


def _facts(path: Path) -> tuple[Facts, int]:
    """Return what a file says of itself, and how many bytes it should have."""
    from weconvene_core.codec.container import unpack_prefix

    data = read(path)
    prefix = unpack_prefix(data)
    container = prefix.container
    facts = {
        "file": str(path), "bytes": len(data), "complete": prefix.complete,
        "bpp": round(8 * prefix.size / (container.width * container.height), 4),
        "width": container.width, "height": container.height, "mode": container.mode, "quality": container.quality,
        "model_hash": container.model_hash.hex(), "exact": container.exact, "tile": container.tile,
        "tiles": list(container.tiling), "orientation": container.orientation, "transforms": not container.plain,
        "stream_bytes": {kind: sum(map(len, container.of(kind))) for kind in dict.fromkeys(container.kinds)},
    }  # fmt: skip
    return facts, prefix.size


def models(arguments: argparse.Namespace) -> int:
    """Print the trained models: those that ship and the user's own."""
    return _print([_model(name, path) for name, path in checkpoints().items()], arguments.json)


def _model(name: str, path: Path) -> Facts:
    """Return what a checkpoint says of itself; of one without a description, the size alone."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            said = json.loads(file.metadata()["description"])
    except (SafetensorError, OSError, TypeError, KeyError, ValueError):
        said = {}
    architecture, served = said.get("architecture", {}), said.get("architecture", {}).get("quality", "?")
    return {
        "name": name, "bytes": path.stat().st_size, "preset": architecture.get("name", "?"),
        "metric": said.get("config", {}).get("metric", "?"), "qualities": "0 to 7" if served is None else str(served),
        "steps": said.get("total_steps", "?"), "change_of": said.get("base", {}).get("name", ""),
        "model_hash": said.get("seal", {}).get("hash", "")[:16] or "not calibrated",
        "shipped": path.parent == CHECKPOINTS,
    }  # fmt: skip


def image_sets(arguments: argparse.Namespace) -> int:
    """Print the image sets that are registered, and the folders under ``WECONVENE_DATA``."""
    return _print(list(_sets()), arguments.json)


def _sets() -> Iterator[Facts]:
    from weconvene_core.datasets.image_sets import MissingSetError, images_in, locate
    from weconvene_core.datasets.registry import load_registry, registered

    for name in registered():
        entries = load_registry(name)
        one, names = entries[0], {entry.name for entry in entries}
        try:
            folder = locate(name)
            here = sum(bool(one.members) or path.name in names for path in images_in(folder))
        except (MissingSetError, ImportError):
            folder, here = None, 0
        yield {
            "name": name, "images": sum(entry.images for entry in entries), "here": here,
            "folder": str(folder or f"missing; weconvene data fetch {name}"), "hashes": one.sha256 is not None,
            "licence": "; ".join(dict.fromkeys(entry.licence for entry in entries)),
        }  # fmt: skip
    own = data_folder()
    for folder in sorted(own.iterdir()) if own and own.is_dir() else ():
        if folder.is_dir() and folder.name not in registered() and (here := len(images_in(folder))):
            facts = {"name": folder.name, "images": here, "here": here, "folder": str(folder)}
            yield facts | {"hashes": False, "licence": "as its source says"}


def _print(rows: list[Facts], as_json: bool) -> int:
    """Print one row as a list, and several as a table; or one JSON object a line."""
    words = [{name: ("no", "yes")[x] if isinstance(x, bool) else str(x) for name, x in row.items()} for row in rows]
    if as_json:
        lines = [json.dumps(row) for row in rows]
    elif len(rows) == 1:
        lines = [f"{name:14}{value}" for name, value in words[0].items()]
    else:
        cells = [[*row] for row in words[:1]] + [[*row.values()] for row in words]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]
    print(*lines, sep="\n", end="\n" * bool(lines))
    return 0
