"""The lessons as a learner meets them: the learner's copy, a real JupyterLab, Chromium, Run All;
and every page with what it shows when it has run. In the light and the dark theme, 1280 wide.

Run by ``make test-browser``; screenshots are left in ``build/browser``.
"""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from nbformat.sign import NotebookNotary

from course_utils.authoring.contents import LESSONS as CONTENTS
from course_utils.authoring.notebooks import NOTEBOOKS, all_notebooks, read
from course_utils.lessons import learn

pytestmark = pytest.mark.browser

SHOTS = Path(__file__).resolve().parents[2] / "build" / "browser"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SETTINGS = {
    # All cells in the page at once: what is scrolled out of sight is checked too.
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
LESSONS = [f"{lesson.slug}.ipynb" for lesson in CONTENTS]
PAGES = [path.relative_to(NOTEBOOKS).as_posix() for path in all_notebooks()]
RUN = "as it ran"  # a folder in the learner's copy with the executed notebooks
READY = "text=/Python 3.* [|] Idle/"  # in the status bar; before that there is no kernel
FAILED = "[data-mime-type='application/vnd.jupyter.error']"
WIDE = """
() => [...document.querySelectorAll(".jp-OutputArea-output, .jp-MarkdownOutput")].flatMap(area =>
  [...area.querySelectorAll("table, img, svg, figure, p, pre, progress")]
    .filter(part => !part.closest(".highlight"))  // the course's code cards scroll
    .filter(part => part.scrollWidth > part.clientWidth + 1 && part.tagName === "PRE"
      || part.getBoundingClientRect().right > area.getBoundingClientRect().right + 1)
    .map(part => part.tagName + ": " + (part.textContent || part.alt || "").slice(0, 80)))
"""


@pytest.fixture(scope="module", params=THEMES)
def theme(request):
    return request.param


@pytest.fixture(scope="module")
def lab(tmp_path_factory, theme):
    """The address of a JupyterLab in this theme that serves a learner's copy."""
    folder = tmp_path_factory.mktemp("lab")
    learn.refresh(folder / "mine")
    _hand_out_as_it_ran(folder / "mine" / RUN, notary=folder / "data")
    settings = folder / "lab" / "settings"
    settings.mkdir(parents=True)
    themes = {"@jupyterlab/apputils-extension:themes": {"theme": THEMES[theme]}}
    (settings / "overrides.json").write_text(json.dumps(SETTINGS | themes))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = f"--port={port} --ip=127.0.0.1 --no-browser --allow-root --IdentityProvider.token="
    command = [sys.executable, "-m", "jupyterlab", *options.split()]
    command += [f"--notebook-dir={folder / 'mine'}", f"--LabApp.app_settings_dir={settings}"]
    environment = {
        **learn.environment(),
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "PYTHONPATH": str(NOTEBOOKS.parent),
    }
    with open(folder / "log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
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
def test_run_all_cells_without_an_error(lab, browser, name, theme):
    page = browser.new_page(viewport={"width": 1280, "height": 1600})
    page.goto(f"{lab}/lab/tree/{name}?reset", wait_until="domcontentloaded", timeout=120_000)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=120_000)
    assert page.locator(".jp-OutputArea-output").count() == 0, "an answer below a question"
    assert page.locator("details[open]").count() == 0
    page.wait_for_selector(READY, timeout=120_000)  # else JupyterLab asks which kernel to start
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    codes = [cell for cell in read(NOTEBOOKS / name).cells if cell.cell_type == "code"]
    counted = [  # JupyterLab shows no number beside code that is hidden
        str(number)
        for number, cell in enumerate(codes, 1)
        if not cell.metadata.get("jupyter", {}).get("source_hidden")
    ]
    assert _prompts(page, until=counted) == counted
    _walk(page, f"{Path(name).stem}-{theme}")
    assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
    assert page.locator(FAILED).count() == 0
    pictures = page.locator(".jp-OutputArea-output img")
    stored = sum(str(cell.outputs).count("<img ") for cell in codes)
    assert pictures.count() == stored
    page.close()


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_wider_than_the_page(lab, browser, name, theme):
    page = browser.new_page(viewport={"width": 1280, "height": 1600})
    page.goto(f"{lab}/lab/tree/{RUN}/{name}?reset", wait_until="domcontentloaded", timeout=120_000)
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=120_000)
    page.wait_for_selector(".jp-RenderedMarkdown h1", timeout=120_000)
    page.wait_for_timeout(1000)
    assert page.evaluate(WIDE) == []
    pictures = page.locator(".jp-OutputArea-output img")
    cells = [cell for cell in read(NOTEBOOKS / name).cells if cell.cell_type == "code"]
    assert pictures.count() == sum(str(cell.outputs).count("<img ") for cell in cells)
    _walk(page, f"{name.removesuffix('.ipynb').replace('/', '-')}-as-it-ran-{theme}")
    page.close()


def test_instructors_tools_are_not_there_and_ckpt_is(lab, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(f"{lab}/lab/tree/{LESSONS[0]}?reset", wait_until="domcontentloaded", timeout=120_000)
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=120_000)
    menus = page.locator(".lm-MenuBar-itemLabel").all_text_contents()
    assert "Run" in menus
    assert "Nbgrader" not in menus
    page.wait_for_selector(READY, timeout=120_000)
    cell = page.locator(".jp-CodeCell .cm-content").first
    cell.click()
    page.keyboard.press("Control+A")
    page.keyboard.type("!ckpt --help")
    page.keyboard.press("Shift+Enter")
    page.wait_for_selector(".jp-OutputArea-output:has-text('inspect')", timeout=120_000)
    page.close()


def _prompts(page, until, seconds=900):
    """Return the execution counts on the page once they are as expected, or no more will come."""
    deadline = time.monotonic() + seconds
    while True:
        texts = page.locator(".jp-CodeCell .jp-InputPrompt").all_text_contents()
        counts = [text.strip("[]: ") for text in texts if text]  # none beside hidden code
        failed = page.locator(FAILED).all_text_contents()
        assert not failed, failed  # the cells below it will not run
        if counts == until or time.monotonic() > deadline:
            return counts
        time.sleep(0.5)


def _walk(page, title):
    """Scroll through the lesson and photograph it, so that a person can look."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    panel = page.locator(".jp-WindowedPanel-outer:visible").first
    height = panel.evaluate("element => element.scrollHeight")
    for number, top in enumerate(range(0, height, 1400)):
        panel.evaluate("(element, top) => element.scrollTo(0, top)", top)
        page.wait_for_timeout(300)
        page.screenshot(path=SHOTS / f"{title}-{number:02}.png")


def _hand_out_as_it_ran(folder, notary):
    """Copy the executed notebooks, signed, so that JupyterLab shows their HTML."""
    notary.mkdir()
    signs = NotebookNotary(data_dir=str(notary))
    for name in PAGES:
        notebook = read(NOTEBOOKS / name)
        signs.sign(notebook)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, folder / name)


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
