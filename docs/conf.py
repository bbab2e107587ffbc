"""How Sphinx builds the site (``make site``): from these pages, the published chapters and the package, offline.

The pages are gathered below ``build/source`` with links that lead from page to page; docs/ itself stays as it is.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pandas as pd
from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.writers.html5 import HTML5Translator

from lab.paths import PUBLISHED, ROOT
from lab.reproduce import site_pictures
from weconvene_core.version import VERSION

project, author, release = "3DM-WeConvene", "the authors of this companion", VERSION
copyright = "the authors of this companion; MIT licence"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["readme.md"]  # parts of it stand on the landing page
html_theme, html_title = "sphinx_book_theme", "3DM-WeConvene, a companion"
html_static_path, html_css_files, html_js_files = ["_static"], ["site.css"], ["site.js"]
highlight_language = "none"  # what names no language is a diagram or a command
html_show_sourcelink = html_copy_source = html_use_index = html_domain_indices = False
html_theme_options = {
    "use_download_button": False, "use_fullscreen_button": False, "show_toc_level": 2, "navbar_persistent": [],
}  # fmt: skip
html_context = {"default_mode": "auto"}
suppress_warnings = ["config.cache"]  # functions below are no part of what decides whether a page is up to date

nb_execution_mode, nb_merge_streams, nb_output_stderr = "off", True, "remove"
nb_render_markdown_format = "myst"
nb_ipywidgets_js: dict[str, Any] = {}  # a page has no kernel: `site.js` shows steps that were computed before
myst_enable_extensions = ["dollarmath", "substitution"]
myst_heading_anchors = 3
myst_substitutions = site_pictures.facts()
autodoc_member_order, autodoc_preserve_defaults = "bysource", True
napoleon_google_docstring = False
napoleon_custom_sections = ["Returns", "Yields"]  # in our docstrings plain text, not a list of types
add_module_names = False

PAGES = {
    "README.md": "readme", "CONTRIBUTING.md": "contributing", "data/README.md": "image-sets",
    "data/anchors/README.md": "published-curves", "data/checkpoints/MODEL_CARD.md": "model-card",
    "data/checkpoints/RUNS.md": "training-runs", "data/protocol.md": "protocol",
    "results/certificate.md": "certificate", "weconvene_core/README.md": "code",
}  # fmt: skip
"""Files of the repository that are pages beside those of docs/, and what the site calls them."""
IN_API = re.compile(r"(weconvene_core/(?:wavelets|layers|entropy|codec|model)/\w+)\.py")
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
WIDGET = "application/vnd.jupyter.widget-view+json"


def relinked(text: str, base: Path, page: Path, source: Path) -> str:
    """Return Markdown whose links, relative to the folder ``base``, lead to pages of the site or to copies of files.

    ``page`` is where the text will lie below ``source``. A link to a folder becomes plain text.
    """

    def replaced(link: re.Match[str]) -> str:
        target = (base / link[2]).resolve()
        name = os.path.relpath(target, ROOT)
        if module := IN_API.fullmatch(name):
            return f"[{link[1]}](#{module[1].replace('/', '.')})"
        if target.is_dir():
            return link[1]
        if target.suffix == ".ipynb":
            target = source / "chapters" / target.name
        elif name in PAGES:
            target = source / f"{PAGES[name]}.md"
        elif target.is_relative_to(ROOT / "docs"):
            target = source / target.relative_to(ROOT / "docs")
        return f"[{link[1]}]({os.path.relpath(target, page.parent)}{link[3] or ''})"

    return LINK.sub(replaced, text)


def chapter(path: Path, page: Path, source: Path) -> str:
    """Return an executed notebook with links and alternative texts for the site, and an explorer without a kernel."""
    node, base = json.loads(path.read_text(encoding="utf-8")), path.parent
    node["metadata"].pop("widgets", None)
    for cell in node["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = relinked("".join(cell["source"]), base, page, source)
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "text/markdown" in data:
                data["text/markdown"] = relinked("".join(data["text/markdown"]), base, page, source)
            if WIDGET in data:
                explorer = source / "static" / "made" / "explorer.html"
                output["data"] = {"text/html": explorer.read_text(encoding="utf-8")}
            for kind in (kind for kind in data if kind.startswith("image/")):
                said = output["metadata"].get(kind, {})
                image = {"alt": said.get("alt", "Figure, described in the text beside it")}
                width = {"width": f"{said['width']}px"} if "width" in said else {}
                cell["metadata"]["mystnb"] = {"image": image | width}
    return json.dumps(node)


def gallery(page: Path) -> str:
    """Return the figures of gallery.csv in Markdown, each with its caption, files, licence and chapter."""
    parts = []
    for row in pd.read_csv(ROOT / "docs" / "gallery.csv").itertuples():
        files = sorted((PUBLISHED / "figures").glob(f"{row.figure}.*"))  # PNG, then SVG unless it shows photographs
        paths = [os.path.relpath(path, page.parent) for path in files]
        links = ", ".join(f"[{path.suffix[1:].upper()}]({where})" for path, where in zip(files, paths, strict=True))
        about = f"{row.caption} {links}. {row.licence}. [Chapter {row.chapter[:2]}](chapters/{row.chapter}.ipynb)."
        parts.append(f"```{{figure}} {paths[0]}\n:alt: {row.caption}\n\n{about}\n```\n")
    return "\n".join(parts)


def gather(app: Sphinx, config: Config) -> None:
    """Write all sources; a file that did not change keeps its time, so that a second build is short."""
    source = Path(app.srcdir)
    site_pictures.make(source / "static" / "made")
    config.html_static_path.append(str(source / "static"))
    pages = {path: f"{path.relative_to(ROOT / 'docs')}" for path in (ROOT / "docs").rglob("*.md")}
    texts = {}
    for path, name in (pages | {ROOT / path: f"{name}.md" for path, name in PAGES.items()}).items():
        page = source / name
        texts[page] = relinked(path.read_text(encoding="utf-8"), path.parent, page, source)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        page, published = source / "chapters" / path.name, PUBLISHED / "notebooks" / path.name
        texts[page] = chapter(published if published.is_file() else path, page, source)  # new: not yet published
    texts[source / "gallery.md"] += gallery(source / "gallery.md")
    for page, text in texts.items():
        page.parent.mkdir(parents=True, exist_ok=True)
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")
    for page in [*source.rglob("*.md"), *source.rglob("*.ipynb")]:
        if page not in texts:
            page.unlink()


def visit_math(self: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    """Write a formula as MathML, which browsers draw themselves: no script, no network."""
    text = node.astext().replace(r"\lVert", r"\Vert").replace(r"\rVert", r"\Vert")
    if isinstance(node, nodes.math_block):
        self.body.append(f'<div class="formula" tabindex="0">{convert(text, display="block")}</div>\n')
    else:
        self.body.append(convert(text))
    raise nodes.SkipNode


def readable(*event: Any) -> tuple[str, str] | None:
    """Write the signature of a dataclass with a default factory as others are written."""
    signature, returns = event[-2:]
    if "<factory>" in (signature or ""):
        return re.sub(r"~(\w+\.)*", "", signature).replace("<factory>", "..."), returns
    return None


def without_builtins(app: Sphinx) -> list[Any]:
    """Drop what type aliases leave behind: a listing of sources of Python itself, which has no page."""
    app.env._viewcode_modules.pop("builtins", None)
    return []


def setup(app: Sphinx) -> dict[str, bool]:
    """Gather the sources first of all, and draw formulas without a network."""
    app.connect("config-inited", gather)
    app.connect("autodoc-process-signature", readable)
    app.connect("html-collect-pages", without_builtins, priority=100)
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math, None))
    app.config.html_math_renderer = "mathml"
    return {"parallel_read_safe": True, "parallel_write_safe": True}
