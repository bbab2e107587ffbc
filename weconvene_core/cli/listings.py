"""What only lists: compressed files, trained models, image sets. Nothing here loads torch, which takes seconds."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from weconvene_core.cli.commands import COMPRESSED, DAMAGED, FAILED, _read
from weconvene_core.errors import CorruptFileError, WeconveneError
from weconvene_core.paths import CHECKPOINTS, checkpoints, data_folder

Facts = dict[str, Any]
SHOWN = ("file", "bytes", "bpp", "width", "height", "mode", "quality", "complete")  # of several files, as a table


def info(arguments: argparse.Namespace) -> int:
    """Print what compressed files say of themselves; a cut one does so too, and is reported."""
    sources, codes, rows = arguments.inputs, [], []
    paths = [path for one in sources for path in (sorted(one.rglob(f"*{COMPRESSED}")) if one.is_dir() else [one])]
    if not paths:
        raise WeconveneError(f"There is no {COMPRESSED} file in {', '.join(map(str, sources))}: name another folder.")
    for path in paths:
        try:
            facts = _facts(path)
        except (WeconveneError, OSError) as error:
            if len(paths) == 1:
                raise
            codes.append(DAMAGED if isinstance(error, CorruptFileError) else FAILED)
            print(f"weconvene: {path}: {error}", file=sys.stderr)
            continue
        size = facts.pop("whole_bytes")
        if arguments.json:
            print(json.dumps(facts))
        rows.append(facts)
        if not facts["complete"]:
            codes.append(DAMAGED)
            print(
                f"weconvene: {path} is cut: {facts['bytes']} of its {size} bytes are there; fetch it again, "
                "or look at what there is with decode --preview.",
                file=sys.stderr,
            )
    if len(paths) == 1 and not arguments.json:
        print("\n".join(f"{name:14}{value}" for name, value in rows[0].items()))
    elif not arguments.json:
        _print_table([{name: row[name] for name in SHOWN} for row in rows])
    return min(codes, default=0)


def _facts(path: Path) -> Facts:
    from weconvene_core.codec.container import unpack_prefix

    data = _read(path)
    prefix = unpack_prefix(data)
    container = prefix.container
    return {
        "file": str(path), "bytes": len(data), "complete": prefix.complete,
        "bpp": round(8 * prefix.size / (container.width * container.height), 4),
        "width": container.width, "height": container.height, "mode": container.mode, "quality": container.quality,
        "model_hash": container.model_hash.hex(), "exact": container.exact, "tile": container.tile,
        "tiles": list(container.tiling), "orientation": container.orientation, "transforms": not container.plain,
        "stream_bytes": {kind: sum(map(len, container.of(kind))) for kind in dict.fromkeys(container.kinds)},
        "whole_bytes": prefix.size,
    }  # fmt: skip


def models(arguments: argparse.Namespace) -> int:
    """Print the trained models: those that ship and the user's own."""
    return _print_rows([_model(name, path) for name, path in checkpoints().items()], arguments.json)


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
    return _print_rows(list(_sets()), arguments.json)


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


def _print_rows(rows: list[Facts], as_json: bool) -> int:
    if as_json:
        for row in rows:
            print(json.dumps(row))
    else:
        _print_table(rows)
    return 0


def _print_table(rows: list[Facts]) -> None:
    """Print rows with the same columns below their names."""
    cells = [[("no", "yes")[cell] if isinstance(cell, bool) else str(cell) for cell in row.values()] for row in rows]
    lines = [[*rows[0]], *cells] if rows else []
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
