"""The built site, and a server for it: what the tests of its pages stand on."""

import contextlib
import functools
import http.server
import shutil
import threading
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "build" / "site"
AXE = ROOT / "site" / "node_modules" / "axe-core" / "axe.min.js"
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
ROLES = {"stylesheet", "icon", "preload", "modulepreload", "manifest"}  # links that are fetched


def pages():
    return sorted(BUILT.rglob("*.html"))


class Page(HTMLParser):
    """Where a page points.

    Attributes:
        ids: places in it that a link can point to.
        links: what it points to, in order.
        loads: what a browser fetches to show it.
    """

    def __init__(self, path):
        super().__init__()
        self.path, self.ids, self.links, self.loads = path, set(), [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids |= {given[name] for name in ("id", "name") if given.get(name)}
        source = given.get("src")
        target = given.get("href")
        fetched = tag == "link" and ROLES & set((given.get("rel") or "").split())
        if source:
            self.loads.append(source)
        if target and fetched:
            self.loads.append(target)
        self.links += [address for address in (source, target) if address]


@functools.cache
def page(path):
    return Page(path)


def broken(path):
    """Return the links of a page that lead nowhere inside the site."""
    inside = [
        link for link in page(path).links if not urlsplit(link).scheme + urlsplit(link).netloc
    ]
    return [link for link in inside if not _leads_somewhere(path, urlsplit(link))]


def _leads_somewhere(path, link):
    if link.scheme or link.netloc:  # outside, which is not asked
        return True
    target = (path.parent / unquote(link.path)).resolve() if link.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.is_relative_to(BUILT) or not target.is_file():
        return False
    place = unquote(link.fragment) if target.suffix == ".html" else ""
    return not place or place in page(target).ids


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextlib.contextmanager
def served():
    """Serve the site on this machine; yield its address."""
    handler = functools.partial(_Silent, directory=BUILT)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextlib.contextmanager
def launched():
    """Start the browser; yield it."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield browser
        browser.close()
