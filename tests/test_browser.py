"""The lessons as a learner meets them: a real JupyterLab in a headless Chromium, Run All.

Run by ``make test-browser``; screenshots are left in ``build/browser``.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from course_utils.authoring.notebooks import NOTEBOOKS, all_notebooks, read

pytestmark = pytest.mark.browser

SHOTS = Path(__file__).resolve().parents[1] / "build" / "browser"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
).split()
LESSONS = [path.name for path in all_notebooks() if re.match(r"0[012]_", path.name)]


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab that serves a copy of the notebooks."""
    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(NOTEBOOKS, folder / "notebooks", ignore=shutil.ignore_patterns("scratch"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [
        f"--port={port}", "--ip=127.0.0.1", "--no-browser", "--allow-root", "--IdentityProvider.token=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.news_url=None", f"--notebook-dir={folder / 'notebooks'}",
    ]  # fmt: skip
    root = str(NOTEBOOKS.parent)
    environment = {**os.environ, "JUPYTER_CONFIG_DIR": str(folder), "PYTHONPATH": root}
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options], stdout=log, stderr=log, env=environment
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/api", server, folder / "log")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("no Chromium found; on Debian or Ubuntu: sudo apt install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.mark.parametrize("name", LESSONS)
@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_run_all_cells_without_an_error(lab, browser, name, theme):
    if theme == "JupyterLab Dark" and name != LESSONS[0]:
        pytest.skip("the dark theme is looked at on the first lesson")
    page = browser.new_page(viewport={"width": 1280, "height": 1600})
    page.goto(f"{lab}/lab/tree/{name}?reset", wait_until="domcontentloaded")
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    page.wait_for_function("window.jupyterapp !== undefined || document.querySelector('#jp-top-panel')")
    _menu(page, "Settings", "Theme", theme)
    _menu(page, "Run", "Run All Cells")
    count = sum(cell.cell_type == "code" for cell in read(NOTEBOOKS / name).cells)
    page.wait_for_function(
        "n => fetch(`/api/sessions`).then(r => r.json())"
        ".then(s => s.some(x => x.path === n && x.kernel.execution_state === 'idle'))",
        arg=name,
        timeout=120_000,
    )
    _walk(page, name, theme)
    assert page.locator(".jp-RenderedText[data-mime-type*='stderr']").count() == 0
    assert page.locator(".jp-OutputArea-output[data-mime-type*='error']").count() == 0
    assert count > 0
    page.close()


def _walk(page, name, theme):
    """Scroll through the lesson and photograph it, so that a person can look."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    panel = page.locator(".jp-WindowedPanel-outer:visible").first
    height = panel.evaluate("element => element.scrollHeight")
    for number, top in enumerate(range(0, height, 1400)):
        panel.evaluate("(element, top) => element.scrollTo(0, top)", top)
        page.wait_for_timeout(500)
        page.screenshot(path=SHOTS / f"{Path(name).stem}-{theme.split()[1].lower()}-{number:02}.png")


def _menu(page, *names):
    for name in names[:-1]:
        page.get_by_role("menuitem", name=name, exact=True).click()
    page.get_by_role("menuitem", name=names[-1], exact=True).click()


def _wait_for(address, server, log, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(address).close()
            return
        except OSError:
            time.sleep(0.2)
    raise TimeoutError(log.read_text())
