"""Executed notebooks small enough to keep: photographs as JPEG, progress bars as their last state."""

from __future__ import annotations

import base64
import io

import nbformat
from PIL import Image

LARGE = 110_000  # characters of base64: line drawings stay below, photographs lie above
JPEG_QUALITY = 80


def compact(node: nbformat.NotebookNode) -> None:
    """Shrink the outputs of an executed notebook in place; figures keep their lossless files in ``results/figures``."""
    for cell in node.cells:
        if cell.cell_type == "code":
            cell.outputs = _merged(cell.outputs)
            for output in cell.outputs:
                _shrink(output.get("data", {}))


def _merged(outputs: list[nbformat.NotebookNode]) -> list[nbformat.NotebookNode]:
    """Join neighbouring pieces of one stream, and let a carriage return overwrite its line as a terminal does."""
    merged: list[nbformat.NotebookNode] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if last is not None and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            merged.append(output)
    for output in merged:
        if output.output_type == "stream":
            output.text = "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in output.text.split("\n"))
    return merged


def _shrink(data: dict[str, str]) -> None:
    """Replace a large PNG by a JPEG of the same pixels where that is smaller: flat areas are smaller as PNG."""
    png = data.get("image/png", "")
    if len(png) < LARGE:
        return
    target = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(png))) as image:
        image.convert("RGB").save(target, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    jpeg = base64.b64encode(target.getvalue()).decode("ascii")
    if len(jpeg) < len(png):
        del data["image/png"]
        data["image/jpeg"] = jpeg
