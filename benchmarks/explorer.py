"""Whether the explorer's next use is quick, and reads as the command does: in a real Chromium.

Needs the built site (``make site``), Chromium and playwright.
"""

import functools
import http.server
import io
import shutil
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import folder, verdict
from course_utils.checkpoint import save_checkpoint
from course_utils.ckpt.main import main as ckpt

SITE = Path(__file__).resolve().parents[1] / "build" / "site"
TENSORS, ROUNDS = 1_000, 5
# The page's policy forbids what Playwright's own waiting for a function does.
KEPT = """async () => {
  const cache = await caches.open("checkpoint-explorer-python");
  while (!(await cache.keys()).length) await new Promise((resolve) => setTimeout(resolve, 50));
}"""
# The seconds from the choice of a file to its tree on the page, and to all that is said of it.
WATCH = """() => {
  for (const id of ["status", "headline"]) document.getElementById(id).textContent = "";
  window.seen = new Promise((resolve) => {
    document.getElementById("files").addEventListener("change", () => {
      const start = performance.now(), seconds = () => (performance.now() - start) / 1000;
      let tree;
      new MutationObserver((_, self) => {
        if (document.getElementById("headline").textContent) tree ??= seconds();
        if (document.getElementById("status").textContent !== "Done.") return;
        self.disconnect();
        resolve([tree, seconds()]);
      }).observe(document.body, { subtree: true, childList: true, attributes: true });
    }, { once: true });
  });
}"""


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def browser() -> Iterator[tuple[Any, str]]:
    """Yield a context of Chromium and the page's address."""
    from playwright.sync_api import sync_playwright

    handler = functools.partial(_Silent, directory=SITE)
    with (
        http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server,
        sync_playwright() as play,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        chromium = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        address = f"http://127.0.0.1:{server.server_port}/explorer/index.html"
        yield chromium.new_context(), address
        chromium.close()
        server.shutdown()


def use(context: Any, address: str) -> float:
    """Return the seconds from opening the page to all that is said of an example."""
    page = context.new_page()
    page.goto(f"{address}?example=weights.pt")
    page.locator("#status", has_text="Done.").wait_for(timeout=60_000)
    seconds: float = page.evaluate("performance.now()") / 1000
    page.evaluate(KEPT)
    page.close()
    return seconds


def command(path: Path) -> float:
    """Return the seconds that the command takes, without Python's start and its imports."""
    start = time.perf_counter()
    with redirect_stdout(io.StringIO()):
        ckpt(["inspect", "--json", str(path)])
    return time.perf_counter() - start


def main() -> None:
    with folder() as path, browser() as (context, address):
        first = use(context, address)
        later = statistics.median(use(context, address) for _ in range(ROUNDS))
        file = path / "many.pt"
        save_checkpoint(file, {f"layers.{n}.weight": torch.ones(2, 2) for n in range(TENSORS)})
        page = context.new_page()
        page.goto(address)
        page.locator("#status", has_text="Ready.").wait_for(timeout=60_000)
        command(file)  # imports
        shown, commands = [], []
        for _ in range(ROUNDS + 1):
            page.evaluate(WATCH)
            page.set_input_files("#files", str(file))
            shown.append(page.evaluate("() => window.seen"))
            commands.append(command(file))
        cold = shown.pop(0)[0]  # the browser translates what is run for the first time
    tree, everything = (statistics.median(times) for times in zip(*shown, strict=True))
    print("\nThe explorer in Chromium")
    verdict("first use", first, 6, " s")
    verdict("next use", later, 1.5, " s")
    own = statistics.median(commands)
    print(f"  {TENSORS} tensors: ckpt inspect {own:.3f} s, the tree {tree:.3f} s,")
    print(f"  the first file's {cold:.3f} s,")
    print(f"  with the byte map and the audit {everything:.3f} s")
    verdict("the tree against ckpt inspect", tree / own, 3)


if __name__ == "__main__":
    main()
