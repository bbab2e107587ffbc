"""Figures as files: small, and nothing of them lost that an eye could see."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from skimage import data

from lab.figures.style import COLOURS, DPI, EXACT, GREY, PALETTE, PHOTO_DPI, SHADE, save, style
from lab.figures.svg import tidied
from weconvene_core.paths import ROOT

NUMBER = re.compile(r"-?\d+\.?\d*")
FIGURES = """
import sys
from pathlib import Path

import pandas as pd

from lab.rd.published_curves import anchor_curve, published_curve
from lab.rd.tables import published_bd_table, write_bd_table
from lab.figures.curves import rd_figure
from lab.figures.recipe import recipe_figure
from lab.figures.resolution import resolution_figure
from lab.figures.style import save
from weconvene_core.paths import RESULTS

folder, codecs = Path(sys.argv[1]), ("BPG444", "WebP", "JPEG")
trials, scales = (pd.read_csv(RESULTS / "tables" / f"{name}.csv") for name in ("recipe", "resolution"))
curves = [published_curve("kodak", name) for name in codecs]
save(rd_figure(curves, [anchor_curve("K-A")], "Kodak, 24 images"), "rd", folder)
save(recipe_figure(trials, "trials"), "recipe", folder)
save(resolution_figure(scales, "lite", "9 images"), "resolution", folder)
write_bd_table(published_bd_table("kodak", codecs, ("K-A", "K-B")), folder / "bd_rate.csv")
"""
"""Three figures and a table, for a process of their own."""


def drawing() -> Figure:
    with style():
        figure = Figure(figsize=(6.0, 4.0), layout="constrained")
        axes = figure.subplots()
        x = np.linspace(0, 1, 300)
        for number, colour in enumerate(PALETTE):
            axes.plot(x, np.sin((number + 1) * x), color=colour, marker="o", markevery=50)
        axes.fill_between(x, -x, alpha=0.1, color=PALETTE[0])
        axes.set_title(r"$\lambda\,255^2$: -0.001 to 1")
        axes.set_ylabel("turned")
    return figure


def photograph() -> Figure:
    with style():
        figure = Figure(figsize=(4.0, 4.0))
        figure.subplots().imshow(data.astronaut())
    return figure


def raw(figure: Figure, kind: str, dpi: int) -> bytes:
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format=kind, dpi=dpi, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


@pytest.mark.parametrize(("make", "dpi", "most"), [(drawing, DPI, 32), (photograph, PHOTO_DPI, 2)])
def test_a_png_shows_what_was_drawn(make: Callable[[], Figure], dpi: int, most: int, tmp_path: Path) -> None:
    figure = make()
    path = save(figure, "one", tmp_path)
    full = raw(figure, "png", dpi)
    with Image.open(path) as kept, Image.open(io.BytesIO(full)) as drawn:
        differences = np.asarray(kept.convert("RGB")).astype(int) - np.asarray(drawn.convert("RGB"))
    assert np.abs(differences).max() <= most
    assert path.stat().st_size < 0.8 * len(full)


def test_a_drawing_is_a_palette_and_has_a_vector_file(tmp_path: Path) -> None:
    with Image.open(save(drawing(), "lines", tmp_path)) as image:
        assert image.mode == "P"
        assert len(image.getcolors()) <= COLOURS
    save(photograph(), "picture", tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lines.png", "lines.svg", "picture.png"]


def test_the_colours_of_the_style_are_kept_to_the_digit(tmp_path: Path) -> None:
    figure = drawing()
    figure.axes[0].axvspan(0.2, 0.4, color=SHADE, zorder=0)
    path = save(figure, "shaded", tmp_path)
    drawn = Image.open(io.BytesIO(raw(figure, "png", DPI))).convert("RGB")
    kept = Image.open(path).convert("RGB")
    for colour in EXACT:
        wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        there, here = ((np.asarray(image) == wanted).all(axis=2) for image in (drawn, kept))
        assert here[there].all()
        assert there.any() or colour in (GREY, "#333333", "#555555")
    again = save(figure, "again", tmp_path)
    assert path.read_bytes() == again.read_bytes()


def test_a_tidied_svg_draws_the_same_at_less_than_four_fifths_of_the_bytes() -> None:
    full = raw(drawing(), "svg", DPI).decode()
    short = tidied(full)
    assert len(short) < 0.8 * len(full)
    pairs = list(zip(ElementTree.fromstring(full).iter(), ElementTree.fromstring(short).iter(), strict=True))
    names = {element.get("id") for _, element in pairs}
    for before, after in pairs:
        assert before.tag == after.tag
        assert before.get("style") == after.get("style")
        link = after.get("{http://www.w3.org/1999/xlink}href")
        assert link is None or link[1:] in names
        for key in ("d", "points"):
            numbers = [[float(n) for n in NUMBER.findall(element.get(key, ""))] for element in (before, after)]
            assert numbers[0] == pytest.approx(numbers[1], abs=0.0051)
        assert place(before) == pytest.approx(place(after), abs=0.0051)


def place(element: ElementTree.Element) -> list[float]:
    """Where the element lies: x and y, and all numbers of its transform."""
    moved = [float(number) for number in NUMBER.findall(element.get("transform", ""))]
    x, y = float(element.get("x", 0)), float(element.get("y", 0))
    alone = element.get("transform", "").startswith("translate") and len(moved) == 2
    return [x + moved[0], y + moved[1]] if alone else [x, y, *moved]


def test_other_processes_with_other_hash_seeds_write_the_same_bytes(tmp_path: Path) -> None:
    """What a set or a hash decides differs from process to process: redrawing within one would never show it."""
    running = []
    for seed in ("1", "2"):  # at once: most of their time goes into imports
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        running.append(subprocess.Popen([sys.executable, "-c", FIGURES, tmp_path / seed], env=environment))
    assert [process.wait() for process in running] == [0, 0]
    written = [{path.name: path.read_bytes() for path in sorted((tmp_path / seed).iterdir())} for seed in ("1", "2")]
    figures = [f"{name}.{kind}" for name in ("rd", "recipe", "resolution") for kind in ("png", "svg")]
    assert list(written[0]) == sorted([*figures, "bd_rate.csv"])
    assert written[0].keys() == written[1].keys()
    assert [name for name in written[0] if written[0][name] != written[1][name]] == []
