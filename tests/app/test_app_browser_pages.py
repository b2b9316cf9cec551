"""Every page in a real Chromium: no console error, nobody else asked, room, accessibility."""

from typing import Any

import pytest
from app_visit import ROOT, Page, opened, violations, watch

PAGES = sorted(file.stem for file in (ROOT / "app" / "pages").glob("[a-z]*.py"))
VIEWS = (
    *("plan?view=Pareto+front", "plan?view=Compare+two", "break_it?view=All+of+them"),
    *("trust?view=Steps", "trust?view=Kernels", "trust?view=Measured+or+assumed"),
)
"""Views that a page does not open with."""
OVERFLOW = """() => [document.documentElement, document.querySelector('[data-testid=stMain]')]
    .map(element => element.scrollWidth - innerWidth)"""

OPEN_ALL = """() => {
    for (const each of document.querySelectorAll('details:not([open]) > summary')) each.click();
}"""
GROUND = "() => getComputedStyle(document.querySelector('.stApp')).backgroundColor"


@pytest.mark.parametrize("name", [*PAGES, *VIEWS])
def test_a_page_fits_its_window_and_has_no_serious_violation_on_light_and_dark(
    name: str, tab: Page
) -> None:
    opened(tab, f"/{name}")
    tab.evaluate(OPEN_ALL)
    for width in (1920, 1280, 390):
        tab.set_viewport_size({"width": width, "height": 900})
        tab.wait_for_timeout(300)
        assert max(tab.evaluate(OVERFLOW)) <= 0, width
    assert violations(tab) == []
    tab.emulate_media(color_scheme="dark")
    tab.wait_for_function(f"({GROUND})() !== 'rgb(255, 255, 255)'")
    tab.wait_for_timeout(300)
    assert violations(tab) == []


def test_axe_finds_what_is_wrong(tab: Page) -> None:
    """The pass is one: a text that cannot be read and a button without a name are found."""
    opened(tab, "/audit")
    tab.evaluate("document.querySelector('h1').innerHTML = '<b style=\"color:#eee\">dim</b>'")
    tab.evaluate("document.querySelector('h1').append(document.createElement('button'))")
    assert {found.split(":")[0] for found in violations(tab)} >= {"color-contrast", "button-name"}


def test_the_watch_notices_who_is_asked_and_what_fails(chromium: Any, dashboard: str) -> None:
    """And nobody but the dashboard is reached."""
    faults: list[str] = []
    page = chromium.new_page(base_url=dashboard)
    watch(page, dashboard, faults)
    page.goto("/")
    reached = page.evaluate("fetch('http://example.com/x').then(() => true, () => false)")
    page.evaluate("setTimeout(() => { throw Error('a fault') })")
    page.wait_for_timeout(200)
    page.close()
    assert reached is False
    assert "http://example.com/x" in faults
    assert any("a fault" in each for each in faults)
    assert any(each.startswith("console: ") for each in faults)


LINKS = {
    "/?ttft-baseline=1.5&gpu-baseline=H200": "H200",
    "/answer?scenario=teen_peak": "teen_peak",
    "/break_it?break=no-int8-kv": "no-int8-kv",
    "/incidents?incident=viral&late=5": "viral",
    "/plan?view=Pareto+front&scenario=teen_peak": "teen_peak",
    "/audit?who=published&verdict=holds": "published",
    "/trust?metric=tpot": "tpot",
}
"""Links, and what must stand in a box for choosing on the page that they show."""
CHOSEN = """word => [...document.querySelectorAll(
    '[data-testid=stSelectbox] input, [data-testid=stMultiSelect], [data-testid=stSelectbox]'
)].some(box => (box.value ?? box.innerText).includes(word))"""


@pytest.mark.parametrize("link", LINKS)
def test_a_link_shows_its_view_and_keeps_it(link: str, tab: Page) -> None:
    opened(tab, link)
    tab.wait_for_function(CHOSEN, arg=LINKS[link])
    for parameter in link.split("?")[1].split("&"):
        assert parameter in tab.url


NONSENSE = (
    "/?scenario=../../etc/passwd&load-baseline=abc&job=../../x",
    "/break_it?break=zebra&job=00000000000000000000000000000000",
    "/incidents?incident=<script>&late=1e9&minutes=5",
    "/plan?view=zebra&a-run=../..&b-set=;rm&scenario-yaml=zzzz",
    "/audit?who=nobody&verdict=zebra&claim=99999",
    "/trust?profile=zebra&metric=zebra",
)


@pytest.mark.parametrize("link", NONSENSE)
def test_a_link_of_nonsense_opens_the_page_as_if_without_it(link: str, tab: Page) -> None:
    opened(tab, link)
    assert tab.get_by_test_id("stException").count() == 0
    assert tab.get_by_test_id("stAlert").filter(has_text="fault").count() == 0
    assert "passwd" not in tab.locator("[data-testid=stMain]").inner_text()
