"""The site builds without a warning, and a real browser shows all of it, at a desk and on a phone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

import pytest
from filelock import FileLock

from lab.paths import NOTEBOOKS, ROOT

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
READY = find_spec("sphinx") and find_spec("selenium") and find_spec("axe_core_python")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(not READY, reason="The extra `site` is not installed.")]
QUIET = ("headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking",
         "disable-component-update", "disable-sync")  # fmt: skip
WIDTHS = {"desk": 1280, "phone": 390}
BREACHES = """axe.run({resultTypes: ["violations"]}).then((found) => arguments[0](found.violations
    .filter((one) => ["serious", "critical"].includes(one.impact))
    .map((one) => one.id + ": " + one.nodes.map((node) => node.html).slice(0, 3))))"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make site` builds it, elsewhere; processes that share the tests share it too."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "whole_site"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            (folder / "source").mkdir(parents=True)
            command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-j", "2", "-c", str(ROOT / "docs")]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, NOTEBOOKS)))}
            command += [str(folder / "source"), str(folder / "site")]
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
            (folder / "said.txt").write_text(f"{done.returncode} {done.stderr}", encoding="utf-8")
    said = (folder / "said.txt").read_text(encoding="utf-8")
    assert said.startswith("0 "), said
    return folder / "site"


def pages(site: Path) -> list[Path]:
    """Every page that a reader meets, without listings of sources and the theme's own files."""
    return [path for path in sorted(site.rglob("*.html")) if not {"_static", "_modules"} & set(path.parts)]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if not (CHROMIUM and DRIVER):
        pytest.skip("There is no Chromium with its driver here (Debian: chromium, chromium-driver).")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for switch in (*QUIET, f"user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(f"--{switch}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(300)
    yield driver
    driver.quit()


def resize(browser: Any, width: int) -> None:
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


class Links(HTMLParser):
    """Where a page leads to, what it loads, and where it can be entered."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.loaded: list[str] = []
        self.ids: set[str | None] = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids.add(found.get("id"))
        if tag == "a" and found.get("href"):
            self.targets.append(found["href"] or "")
        elif tag in ("img", "script", "link", "iframe") and (where := found.get("src") or found.get("href")):
            self.loaded.append(where)


def test_every_link_leads_somewhere_and_nothing_comes_from_elsewhere(site: Path) -> None:
    known = {path: Links(path) for path in sorted(site.rglob("*.html")) if "_static" not in path.parts}
    broken = []
    for path, links in known.items():
        assert [where for where in links.loaded if "//" in where] == [], path
        for where in (*links.targets, *links.loaded):
            if where.startswith(("http:", "https:", "mailto:", "data:")):
                continue
            name, anchor = urldefrag(where.partition("?")[0] if "#" not in where else where)
            target = (path.parent / unquote(name)).resolve() if name else path
            if not target.is_file() or (target in known and unquote(anchor) not in known[target].ids):
                broken.append(f"{path.relative_to(site)}: {where}")
    assert len(known) > 40
    assert broken == []


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_no_page_is_wider_than_the_window_or_says_an_error(site: Path, browser: Any, width: int) -> None:
    resize(browser, width)
    faults = {}
    for path in pages(site):
        browser.get(path.as_uri())
        lost = browser.execute_script("return [...document.images].filter((i) => !i.naturalWidth).map((i) => i.src)")
        wide = browser.execute_script("return document.documentElement.scrollWidth") - width
        said = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
        if lost or said or wide > 0:
            faults[path.name] = (lost, said, wide)
    assert faults == {}


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_nothing_keeps_people_out(site: Path, browser: Any, width: int) -> None:
    import axe_core_python

    resize(browser, width)
    (axe,) = Path(axe_core_python.__file__).parent.rglob("axe.min.js")
    found = {}
    for name in ("index", "gallery", "glossary", "teaching", "coming-from", "api/layers", "chapters/01_subbands"):
        browser.get((site / f"{name}.html").as_uri())
        browser.execute_script(axe.read_text(encoding="utf-8"))
        found[name] = browser.execute_async_script(BREACHES)
    assert found == dict.fromkeys(found, [])


def loaded(browser: Any, selector: str) -> list[str]:
    """Where pictures come from, once the browser has all of them."""
    from selenium.webdriver.support.wait import WebDriverWait

    ready = f"const all = [...document.querySelectorAll('{selector}')]; return all.every((i) => i.naturalWidth > 0) && "
    return WebDriverWait(browser, 20).until(lambda driver: driver.execute_script(f"{ready} all.map((i) => i.src)"))


@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_the_slider_between_codecs_moves(site: Path, browser: Any, width: int) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.select import Select

    def border() -> float:
        cut = browser.execute_script("return getComputedStyle(document.querySelector('.stage .right')).clipPath")
        return float(cut.rstrip("%)").split()[-1])

    resize(browser, width)
    browser.get((site / "index.html").as_uri())
    stage = browser.find_element(By.CLASS_NAME, "stage")
    slider = browser.find_element(By.CSS_SELECTOR, ".compare [type=range]")
    assert border() == 50
    slider.send_keys(4 * "\ue014")  # the right arrow
    assert border() > 50
    start = stage.size["width"] // 4
    ActionChains(browser).move_to_element_with_offset(stage, -start, 0).click_and_hold().release().perform()
    assert border() == pytest.approx(25, abs=2)
    picture, left, right = map(Select, browser.find_elements(By.CSS_SELECTOR, ".compare select"))
    assert len(picture.options) == 6
    before = loaded(browser, ".stage img")
    for select in (picture, left, right):
        select.select_by_index(3)
    after = loaded(browser, ".stage img")
    assert not set(before) & set(after)
    assert len({option.text for option in right.options}) == len(right.options) == 5
    assert " bytes, " in browser.find_element(By.CLASS_NAME, "said").text


def test_the_explorer_moves_without_a_kernel(site: Path, browser: Any) -> None:
    from selenium.webdriver.common.by import By

    resize(browser, WIDTHS["phone"])
    browser.get((site / "chapters" / "01_subbands.html").as_uri())
    seen = set(loaded(browser, ".explorer img"))
    for slider in browser.find_elements(By.CSS_SELECTOR, ".explorer [type=range]"):
        slider.send_keys("\ue012")  # the left arrow
        seen |= set(loaded(browser, ".explorer img"))
    assert len(seen) == 4
