"""The explorer in a real Chromium: what it shows is what ``ckpt`` prints, whatever the file.

Needs the built site (``make site``); pictures are left in ``build/browser``.
"""

import io
import json
import os
import pickle
import random
import string
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from site_files import AXE, BUILT, CHROMIUM, ROOT, launched, served

SHOTS = ROOT / "build" / "browser"
PATIENCE = 60_000  # milliseconds; a slow machine is no fault
NAME = random.Random().choices(string.ascii_letters + "äß層 '&%#", k=12)

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found"),
    pytest.mark.skipif(
        not (BUILT / "explorer" / "index.html").exists(), reason="needs the site: make site"
    ),
]


@pytest.fixture(scope="module")
def address():
    with served() as address:
        yield address


@pytest.fixture(scope="module")
def chromium():
    with launched() as browser:
        yield browser


class Explorer:
    """The page, and what it asked for."""

    def __init__(self, browser, address, **options):
        self.context = browser.new_context(viewport={"width": 1100, "height": 1400}, **options)
        self.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
        self.page = self.context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.requests, self.errors = [], []
        self.context.on("request", lambda request: self.requests.append(request))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: self.errors.append(dialog.message))
        self.page.goto(f"{address}/explorer/index.html")
        self.wait("Ready.")

    def wait(self, status):
        self.page.locator("#status", has_text=status).wait_for()

    def open(self, *paths, status="Done.", place="#files"):
        # The page says at once that it opens them: "Done." is never that of the files before.
        self.page.set_input_files(place, [str(path) for path in paths])
        self.wait(status)

    def press(self, button, status="Done."):
        self.page.evaluate("document.getElementById('status').textContent = ''")
        self.page.click(button)
        self.wait(status)

    def copied(self, what):
        self.press(f"[data-copy='{what}']", status="Copied")
        return self.page.evaluate("navigator.clipboard.readText()")

    def text(self, place):
        return self.page.locator(place).inner_text()


@pytest.fixture(scope="module")
def explorer(chromium, address):
    explorer = Explorer(chromium, address)
    yield explorer
    assert explorer.errors == []
    explorer.context.close()


def printed(folder, command, *names):
    line = [sys.executable, "-m", "course_utils", command, "--json", "--", *names]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True)
    assert done.stderr == ""
    return done.stdout


def weights():
    return {"layer.weight": torch.rand(3, 4), "layer.bias": torch.rand(3).bfloat16(), "層": 1.5}


def zipped(data):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", b"3\n")
    return out.getvalue()


class _Evil:
    def __reduce__(self):
        return eval, ("1 + 1",)


def write(path, kind):
    """Write a file of a kind."""
    if kind == "safetensors":
        save_file({"a.b": torch.rand(5, 2), "c": torch.ones(3).half()}, path, {"format": "pt"})
        return
    nan = {"w": torch.tensor([1.0, float("nan"), float("inf")]), "v": torch.rand(90)[:2]}
    shared = torch.rand(4)
    run = {"model": weights(), "optimizer": {"state": {}, "param_groups": []}, "tied": [shared] * 2}
    torch.save({"nan": nan, "run": run}.get(kind, weights()), path)
    data = bytearray(path.read_bytes())
    if kind == "cut":
        path.write_bytes(data[:-200])
    elif kind == "flipped":
        data[data.index(b"data/1") + 100] ^= 8
        path.write_bytes(data)
    elif kind == "hostile":
        path.write_bytes(zipped(pickle.dumps({"w": _Evil()}, protocol=2)))
    elif kind == "old":
        torch.save(weights(), path, _use_new_zipfile_serialization=False)
    elif kind == "numpy":
        with path.open("wb") as file:
            np.save(file, np.arange(3))
    elif kind == "npz":
        with path.open("wb") as file:
            np.savez(file, first=np.arange(3), second=np.zeros((2, 2)))
    elif kind == "gguf":
        path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, 0))
    elif kind == "no checkpoint":
        path.write_bytes(b"hello, world")


KINDS = [
    "weights",
    "run",
    "nan",
    "cut",
    "flipped",
    "hostile",
    "safetensors",
    "old",
    "no checkpoint",
    "numpy",
    "npz",
    "gguf",
]


EXAMPLES = ["weights.pt", "training run.pt", "tied.safetensors", "damaged.pt", "stranger.pt"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_json_is_that_of_the_command_byte_for_byte(explorer, tmp_path, kind):
    name = f"{''.join(NAME)}{kind}.pt"
    write(tmp_path / name, kind)
    explorer.open(tmp_path / name)
    for command in ("inspect", "audit"):
        assert explorer.copied(f"{command} JSON") == printed(tmp_path, command, name)
    for command in ("verify", "doctor"):
        explorer.press(f"#{command}")
        assert explorer.copied(f"{command} JSON") == printed(tmp_path, command, name)


def write_shards(folder):
    """Two shards and their index, as transformers writes them."""
    folder.mkdir()
    names = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for n, name in enumerate(names):
        save_file({f"layers.{n}.weight": torch.rand(4, 3)}, folder / name, {"format": "pt"})
    owners = {f"layers.{n}.weight": name for n, name in enumerate(names)}
    index = {"metadata": {"total_size": 96}, "weight_map": owners}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text("{}")
    return [folder / name for name in (*names, "model.safetensors.index.json")]


def test_a_folder_of_shards_is_one_checkpoint_and_its_files_are_there_too(explorer, tmp_path):
    write_shards(tmp_path / "shards")
    explorer.open(tmp_path / "shards", place="#folder")
    assert "shards: a sharded checkpoint" in explorer.text("#headline")
    for command in ("inspect", "audit"):
        assert explorer.copied(f"{command} JSON") == printed(tmp_path, command, "shards")
    explorer.press("#verify")
    assert explorer.copied("verify JSON") == printed(tmp_path, "verify", "shards")
    one = "shards/model-00001-of-00002.safetensors"
    explorer.page.select_option("#file", one)
    explorer.page.locator("#headline", has_text=f"{one}: a safetensors file").wait_for()


def test_shards_chosen_one_by_one_are_one_checkpoint(explorer, tmp_path):
    paths = write_shards(tmp_path / "shards")
    explorer.open(*paths)
    assert "these files: a sharded checkpoint" in explorer.text("#headline")
    explorer.open(*paths[1:])  # a shard is missing
    assert "model-00001-of-00002" in explorer.text("#headline")


def test_files_opened_while_others_are_read_are_the_ones_shown(explorer, tmp_path):
    torch.save({f"layer {i}": torch.rand(2) for i in range(3000)}, tmp_path / "long.pt")
    write(tmp_path / "short.pt", "weights")
    explorer.page.evaluate("""() => {
      const [status, headline] = ["status", "headline"].map((id) => document.getElementById(id));
      window.ended = []; // what was shown whenever the page said that it was done
      new MutationObserver(() => status.textContent === "Done." && ended.push(headline.textContent))
        .observe(status, { childList: true });
    }""")
    for _ in range(5):
        explorer.page.set_input_files("#files", tmp_path / "long.pt")
        explorer.page.locator("#headline", has_text="long.pt").wait_for()
        explorer.open(tmp_path / "short.pt")
        assert explorer.copied("audit JSON") == printed(tmp_path, "audit", "short.pt")
    ended = explorer.page.evaluate("ended")
    assert len(ended) >= 5
    assert all(shown.startswith("short.pt") for shown in ended)


def test_text_is_what_the_command_prints(explorer, tmp_path):
    write(tmp_path / "a.pt", "run")
    explorer.open(tmp_path / "a.pt")
    line = [sys.executable, "-m", "course_utils", "inspect", "a.pt"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert explorer.copied("inspect text") == done.stdout


def test_two_files_are_compared(explorer, tmp_path):
    write(tmp_path / "a.pt", "weights")
    write(tmp_path / "b.pt", "nan")
    explorer.open(tmp_path / "a.pt", tmp_path / "b.pt")
    explorer.press("#diff")
    assert explorer.copied("diff JSON") == printed(tmp_path, "diff", "a.pt", "b.pt")
    assert "only in the first" in explorer.text("#differences")


def test_names_are_text(explorer, tmp_path):
    evil = "<img src=x onerror=alert(1)>"
    name = "--help <b onclick=alert(2)>.pt"
    torch.save(
        {evil: torch.ones(2), "__proto__.x": torch.ones(1), "constructor": 3}, tmp_path / name
    )
    explorer.open(tmp_path / name)
    assert name in explorer.text("#headline")
    assert evil in explorer.text("#tree")
    assert "__proto__" in explorer.text("#tree")
    assert explorer.page.locator("main img, main b[onclick]").count() == 0
    assert explorer.copied("inspect JSON") == printed(tmp_path, "inspect", name)


def test_what_a_hostile_file_calls_is_said_in_words(explorer, tmp_path):
    write(tmp_path / "a.pt", "hostile")
    explorer.open(tmp_path / "a.pt")
    assert "Would run code" in explorer.text("#verdict")
    assert "runs any Python expression" in explorer.text("#audit")


def test_a_file_of_another_kind_is_named_with_its_reader_and_nothing_is_made_up(explorer, tmp_path):
    write(tmp_path / "a.npz", "npz")
    explorer.open(tmp_path / "a.npz")
    assert "a NumPy archive (.npz); read it with numpy.load" in explorer.text("#headline")
    assert "second" in explorer.text("#tree")
    assert "class or function" not in explorer.text("#audit")  # a reason is no name


def test_records_keep_their_names_and_nothing_claims_a_loader_that_would_refuse(explorer, tmp_path):
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "program.pt")
    explorer.open(tmp_path / "program.pt")
    assert "constants.pkl" in explorer.text("#tree")
    write(tmp_path / "a.safetensors", "safetensors")
    explorer.open(tmp_path / "a.safetensors")
    assert "Plain data" in explorer.text("#verdict")
    assert "safe loader" not in explorer.text("#verdict")  # torch.load reads no safetensors


def test_what_has_no_map_shows_none(explorer, tmp_path):
    (tmp_path / "empty.pt").write_bytes(b"")
    explorer.open(tmp_path / "empty.pt")
    assert explorer.text("#map").strip() == "There is no map of this file."
    write(tmp_path / "a.pt", "weights")
    explorer.open(tmp_path / "a.pt")
    assert explorer.page.locator("#map canvas").is_visible()


def test_what_would_hide_a_part_of_a_name_is_written_out(explorer, tmp_path):
    torch.save({"a\u202eb\nc": torch.ones(2), "": torch.ones(1)}, tmp_path / "a.pt")
    explorer.open(tmp_path / "a.pt")
    assert "a\\u{202e}b\\u{a}c" in explorer.text("#tree")
    assert '""' in explorer.text("#tree")


@pytest.mark.parametrize("how", ["removed", "changed"])
def test_a_file_that_is_gone_is_said_to_be(explorer, tmp_path, how):
    path = tmp_path / "a.pt"
    write(path, "weights")
    os.utime(path, (1, 1))
    explorer.open(path)
    if how == "removed":
        path.unlink()
    else:
        write(path, "run")
    explorer.press("#doctor", status="cannot read this file")
    write(tmp_path / "b.pt", "weights")
    explorer.open(tmp_path / "b.pt")
    assert "2 tensors" in explorer.text("#headline")


def test_a_file_that_kills_python_does_not_kill_the_page(explorer, tmp_path):
    deep = 200_000
    data = b"\x80\x02" + b"]" * deep + b"a" * (deep - 1) + b"."
    (tmp_path / "deep.pt").write_bytes(zipped(data))
    explorer.page.set_input_files("#files", str(tmp_path / "deep.pt"))
    explorer.page.locator("#headline", has_text="deep.pt").wait_for()
    write(tmp_path / "b.pt", "weights")
    explorer.open(tmp_path / "b.pt")
    assert "2 tensors" in explorer.text("#headline")


def memory():
    """Return the bytes that the browser's processes have for themselves."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/smaps_rollup"):
        try:
            if b"chrom" in (status.parent / "cmdline").read_bytes():
                total += sum(
                    int(line.split()[1]) << 10
                    for line in status.read_text().splitlines()
                    if line.startswith("Pss:")
                )
        except OSError:
            continue  # it ended meanwhile
    return total


@pytest.fixture
def two_gigabytes(tmp_path):
    """A checkpoint whose data was never written: a hole in the file."""
    path = tmp_path / "large.pt"
    with torch.serialization.skip_data():
        torch.save({"w": torch.empty(2**29), "last": torch.empty(3)}, path)
    assert path.stat().st_size > 2**31
    return path


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_of_a_large_file_only_the_directory_is_read_and_verifying_can_be_ended(
    explorer, two_gigabytes
):
    before = memory()
    explorer.open(two_gigabytes)
    assert memory() - before < 300 * 10**6
    found = explorer.copied("inspect JSON")
    assert found == printed(two_gigabytes.parent, "inspect", two_gigabytes.name)
    explorer.page.click("#verify")
    explorer.page.wait_for_selector("#progress[value]")
    explorer.press("#cancel", status="Cancelled.")
    write(two_gigabytes, "weights")
    explorer.open(two_gigabytes)
    assert "2 tensors" in explorer.text("#headline")


@pytest.mark.parametrize("how", ["dropped", "chosen"])
def test_what_is_opened_next_does_not_wait_for_a_check(explorer, two_gigabytes, how):
    write(two_gigabytes.parent / "a.pt", "weights")
    explorer.open(two_gigabytes.parent / "a.pt", two_gigabytes)
    explorer.page.select_option("#file", two_gigabytes.name)
    explorer.wait("Done.")
    explorer.page.click("#verify")
    explorer.page.wait_for_selector("#progress[value]")
    with explorer.page.expect_worker():  # the one that verified has ended
        if how == "dropped":
            explorer.open(two_gigabytes.parent / "a.pt")
        else:
            explorer.page.select_option("#file", "a.pt")
    explorer.page.locator("#headline", has_text="a.pt: a checkpoint").wait_for()
    assert explorer.text("#verified") == ""
    assert explorer.copied("inspect JSON") == printed(two_gigabytes.parent, "inspect", "a.pt")


def test_of_many_tensors_those_in_sight_are_drawn(explorer, tmp_path):
    one = torch.ones(1)
    torch.save({f"block{i:05}": one for i in range(20_000)}, tmp_path / "many.pt")
    explorer.open(tmp_path / "many.pt")
    grid = explorer.page.locator("[role=treegrid]")
    assert grid.get_attribute("aria-rowcount") == "20001"
    grid.press("End")
    assert "block19999" in explorer.text("#tree")
    assert "shares its memory with block00000" in explorer.text("#detail")
    assert explorer.page.locator("#tree [role=row]").count() < 100
    explorer.page.fill("#filter", "block1234")
    assert explorer.text("#count") == "10 of 20,000"
    torch.save({f"block{i:05}": torch.ones(1) for i in range(20_000)}, tmp_path / "many.pt")
    explorer.open(tmp_path / "many.pt")
    explorer.press("#doctor")
    assert explorer.copied("doctor JSON") == printed(tmp_path, "doctor", "many.pt")


def test_by_keyboard(explorer, tmp_path):
    write(tmp_path / "a.pt", "run")
    explorer.open(tmp_path / "a.pt")
    grid = explorer.page.locator("[role=treegrid]")
    rows = explorer.page.locator("#tree .space [role=row]").count
    opened = rows()
    grid.press("ArrowLeft")
    assert rows() < opened
    grid.press("ArrowRight")
    assert rows() == opened
    for _ in range(2):
        grid.press("ArrowDown")
    chosen = explorer.page.locator(f"#{grid.get_attribute('aria-activedescendant')}")
    assert chosen.get_attribute("aria-selected") == "true"
    canvas = explorer.page.locator("#map canvas")
    before = explorer.text("#map")
    canvas.press("ArrowRight")
    assert explorer.text("#map") != before


def test_nothing_is_sent_and_no_other_host_is_asked(explorer, address, tmp_path):
    write(tmp_path / "a.pt", "run")
    asked = len(explorer.requests)
    explorer.open(tmp_path / "a.pt")
    explorer.press("#doctor")
    assert [request.url for request in explorer.requests[asked:]] == []
    assert {request.method for request in explorer.requests} == {"GET"}
    assert all(request.url.startswith((address, "data:")) for request in explorer.requests)


def test_once_opened_it_works_without_a_network(chromium, address, tmp_path):
    explorer = Explorer(chromium, address)
    explorer.page.evaluate("navigator.serviceWorker.ready.then(() => true)")
    explorer.context.set_offline(True)
    explorer.page.reload()
    explorer.wait("Ready.")
    write(tmp_path / "a.pt", "weights")
    explorer.open(tmp_path / "a.pt")
    assert explorer.copied("inspect JSON") == printed(tmp_path, "inspect", "a.pt")
    explorer.context.close()


# The page's policy forbids what Playwright's own waiting for a function does.
KEPT = """async () => {
    const cache = await caches.open("checkpoint-explorer-python");
    while (!(await cache.keys()).length) await new Promise((resolve) => setTimeout(resolve, 50));
}"""


def again(explorer):
    """Open the page once more; return how its Python started."""
    explorer.page.reload()
    explorer.wait("Ready.")
    return explorer.page.evaluate("document.documentElement.dataset.python")


def test_the_next_use_wakes_from_the_first(chromium, address, tmp_path):
    """A picture of Python's memory is kept; what woke from it reads as what began."""
    explorer = Explorer(chromium, address)
    write(tmp_path / "a.pt", "run")
    explorer.open(tmp_path / "a.pt")  # what was read after the start is not in the picture
    explorer.page.evaluate(KEPT)
    assert again(explorer) == "woke"
    for command in ("inspect", "audit"):
        explorer.open(tmp_path / "a.pt")
        assert explorer.copied(f"{command} JSON") == printed(tmp_path, command, "a.pt")
    explorer.press("#verify")
    explorer.press("#doctor")
    for command in ("verify", "doctor"):
        assert explorer.copied(f"{command} JSON") == printed(tmp_path, command, "a.pt")
    explorer.context.close()


SPOILED = {
    "empty": "new Uint8Array(0)",
    "cut": "bytes.slice(0, bytes.length / 2)",
    "of another build": "bytes.fill(7, 16, 48)",
    "nothing but zeros": "bytes.fill(0, 4096)",
}


@pytest.mark.parametrize("how", SPOILED)
def test_a_picture_that_does_not_wake_is_made_anew(chromium, address, tmp_path, how):
    explorer = Explorer(chromium, address)
    explorer.page.evaluate(KEPT)
    explorer.page.evaluate(f"""async () => {{
        const cache = await caches.open("checkpoint-explorer-python"), [name] = await cache.keys();
        const bytes = new Uint8Array(await (await cache.match(name)).arrayBuffer());
        await cache.put(name, new Response({SPOILED[how]}));
    }}""")
    assert again(explorer) == "began"
    write(tmp_path / "a.pt", "weights")
    explorer.open(tmp_path / "a.pt")
    assert explorer.copied("inspect JSON") == printed(tmp_path, "inspect", "a.pt")
    explorer.page.evaluate(KEPT)
    assert again(explorer) == "woke"
    explorer.context.close()


def test_without_a_cache_python_begins_each_time(chromium, address):
    """As where the page comes without https, or the browser keeps nothing."""
    context = chromium.new_context(service_workers="block")
    context.route(
        "**/python.js",
        lambda route: route.fulfill(
            body="delete self.CacheStorage.prototype.open;" + route.fetch().text(),
            content_type="text/javascript",
        ),
    )
    page = context.new_page()
    for _ in range(2):
        page.goto(f"{address}/explorer/index.html")
        page.locator("#status", has_text="Ready.").wait_for(timeout=PATIENCE)
        assert page.evaluate("document.documentElement.dataset.python") == "began"
    context.close()


def test_without_webassembly_the_command_is_named(chromium, address):
    context = chromium.new_context()
    context.add_init_script("Object.defineProperty(window, 'WebAssembly', { value: undefined })")
    page, errors = context.new_page(), []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{address}/explorer/index.html")
    page.locator("#status", has_text="no WebAssembly").wait_for()
    assert "ckpt inspect FILE" in page.locator("#status").inner_text()
    assert errors == []
    context.close()


def test_the_policy_forbids_other_scripts(explorer):
    explorer.page.evaluate("""() => {
        const script = document.createElement("script");
        script.textContent = "document.title = 'ran'";
        document.body.append(script);
    }""")
    assert explorer.page.title() != "ran"


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_open(explorer, example):
    explorer.page.evaluate("document.getElementById('status').textContent = ''")
    explorer.page.locator("#examples button", has_text=example).click()
    explorer.wait("Done.")
    assert example in explorer.text("#headline")


def test_lessons_lead_to_an_open_example(explorer, address):
    page = explorer.context.new_page()
    page.goto(f"{address}/notebooks/06_untrusted_files.html")
    page.get_by_role("link", name="Look into such a file in your browser").click()
    page.locator("#status", has_text="Done.").wait_for(timeout=PATIENCE)
    assert "stranger.pt" in page.locator("#headline").inner_text()
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_readable_on_a_desk_and_on_a_phone(chromium, address, tmp_path, scheme):
    write(tmp_path / "a.pt", "run")
    explorer = Explorer(chromium, address, color_scheme=scheme, bypass_csp=True)
    explorer.open(tmp_path / "a.pt")
    explorer.press("#doctor")
    SHOTS.mkdir(parents=True, exist_ok=True)
    for width in (1100, 360):
        explorer.page.set_viewport_size({"width": width, "height": 900})
        explorer.page.screenshot(path=SHOTS / f"explorer-{scheme}-{width}.png", full_page=True)
        assert explorer.page.evaluate("document.documentElement.scrollWidth") <= width
        if AXE.exists():
            explorer.page.add_script_tag(path=AXE)
            found = explorer.page.evaluate("axe.run().then(result => result.violations)")
            serious = [v for v in found if v["impact"] in ("serious", "critical")]
            assert json.dumps([(v["id"], [n["html"] for n in v["nodes"]]) for v in serious]) == "[]"
    explorer.copied("audit JSON")  # whose button is far below
    top = explorer.page.evaluate("document.getElementById('status').getBoundingClientRect().top")
    assert 0 <= top < 900
    explorer.context.close()
