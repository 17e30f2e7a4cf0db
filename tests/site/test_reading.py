"""The pages in a real Chromium: read by anybody, in both themes, with no other host asked."""

import pytest
from site_files import AXE, BUILT, CHROMIUM, launched, pages, served

# What depends on the theme is colour; all else is looked at once.
RULES = {
    "light": "{resultTypes: ['violations']}",
    "dark": "{resultTypes: ['violations'], runOnly: ['color-contrast']}",
}
# Colours are judged when they have arrived.
STILL = """
const still = new CSSStyleSheet();  // one that no policy forbids
still.replaceSync(`*, *::before, *::after {
    transition: none !important; animation: none !important
}`);
document.adoptedStyleSheets.push(still);
"""
# Of what the page itself would have to scroll to; the theme does so in a box of its own.
WIDTH = "(document.querySelector('.content') ?? document.documentElement).scrollWidth"
OPEN_ALL = "document.querySelectorAll('details').forEach((one) => (one.open = true))"

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not (BUILT / "index.html").exists(), reason="needs the site: `make site`"),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium; on Debian: apt install chromium"),
]


@pytest.fixture(scope="module")
def browser():
    with launched() as browser:
        yield browser


@pytest.fixture(scope="module")
def address():
    with served() as address:
        yield address


@pytest.mark.parametrize("theme", RULES)
def test_no_page_is_hard_to_use(browser, address, theme):
    """No serious finding of axe, no error, no other host, nothing wider than a phone."""
    problems, asked = [], set()
    context = browser.new_context(color_scheme=theme, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.on("request", lambda request: asked.add(request.url))
    page.on("pageerror", lambda error: problems.append((page.url, str(error))))
    for path in pages():
        page.goto(f"{address}/{path.relative_to(BUILT).as_posix()}")
        page.evaluate(STILL)
        page.evaluate(OPEN_ALL)
        page.evaluate(AXE.read_text(encoding="utf-8"))
        for found in page.evaluate(f"axe.run(document, {RULES[theme]})")["violations"]:
            if found["impact"] in ("serious", "critical"):
                problems.append((page.url, found["id"], found["nodes"][0]["html"]))
        wide = page.evaluate(WIDTH)
        if wide > 390:
            problems.append((page.url, f"{wide} pixels wide on a phone"))
    context.close()
    assert problems == [], problems
    assert {url for url in asked if not url.startswith((address, "data:", "blob:"))} == set()


def test_an_error_message_is_found_by_search(browser, address):
    """Typed as it was printed, it leads to the page that says what to do."""
    page = browser.new_page()
    page.goto(f"{address}/index.html")
    page.get_by_role("searchbox").or_(page.locator("input[name=q]")).first.fill(
        "Unexpected key(s) in state_dict: module."
    )
    page.keyboard.press("Enter")
    assert leads_to_the_faq(page)
    page.locator("#search-results .highlighted").first.wait_for()
    marked = page.locator("#search-results .highlighted").all_inner_texts()
    assert "s" not in marked  # of "key(s)"


def test_a_phone_can_search_from_the_page_of_the_search(browser, address):
    """Where the theme's own field is behind the menu."""
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(f"{address}/search.html")
    page.locator("article").get_by_role("searchbox").fill("Unexpected key(s) in state_dict")
    page.locator("article").get_by_role("button").click()
    assert leads_to_the_faq(page)


def leads_to_the_faq(page):
    results = page.locator("#search-results li a")
    results.first.wait_for(timeout=20_000)
    return any("faq" in (link.get_attribute("href") or "") for link in results.all()[:5])
