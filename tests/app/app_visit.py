"""What a visitor of the dashboard does in a browser, and what he must not meet."""

import re
from pathlib import Path
from typing import Any

from benchmarks.dashboard import served

ROOT = Path(__file__).resolve().parents[2]
LOADED_MS, SIMULATED_MS = 60_000, 300_000
SMALL = """\
schema_version: 1
name: small
description: A small fleet, for tests.
run: {warm_up: 30s, horizon: 3min, drain: 10s}
traffic:
  kind: sessions
  messages_per_s: 48
  turn_cycle: 55s
  sessions:
    live: 2640
    turns: {kind: geometric, mean: 40}
    think: {kind: exponential, mean: 47.5s}
characters: {count: 500, zipf: 0.9}
fleet: {replicas: 3}
slo: {ttft: 2.5s, tpot: 50ms}
overrides:
  no-affinity: {router: {policy: round_robin}}
"""
"""A scenario that is searched in seconds."""
Page = Any
"""A tab: playwright's Page."""


def watch(page: Page, address: str, faults: list[str]) -> None:
    """Note errors in the console, faults of the page, and requests to anybody but the dashboard."""
    own = (address, address.replace("http", "ws"), "data:", "blob:", "file:")
    page.on("console", lambda m: is_fault(m) and faults.append(f"console: {m.text}"))
    page.on("pageerror", lambda error: faults.append(f"page: {error}"))
    for event in ("request", "websocket"):
        page.on(event, lambda asked: asked.url.startswith(own) or faults.append(asked.url))


def is_fault(message: Any) -> bool:
    """Whether a line of the console is an error, but for one that is Streamlit's own.

    It looks after a button's file a moment after the button is drawn, and logs a 404 where a slider
    has moved since and the page has another file.
    """
    gone = "/media/" in message.location["url"] or message.text.endswith("error - 404")
    return message.type == "error" and not ("404" in message.text and gone)


def opened(page: Page, link: str) -> Page:
    """The page once the link's view is drawn."""
    page.goto(link)
    drawn(page)
    return page


def drawn(page: Page) -> None:
    """Wait until Streamlit has drawn all of the page."""
    page.wait_for_function(served.DRAWN)


def simulated(page: Page) -> None:
    """Wait for a run that was asked for, and its page."""
    page.get_by_role("button", name="report.html").wait_for(timeout=SIMULATED_MS)
    page.get_by_role("button", name="Cancel").wait_for(state="detached", timeout=SIMULATED_MS)
    drawn(page)


def move(page: Page, label: str, key: str, times: int = 1) -> None:
    """Press a key on a slider, its last thumb where it has two; wait for what that draws."""
    thumb = page.get_by_test_id("stSlider").filter(has_text=label).locator("input").last
    thumb.focus()
    for _ in range(times):
        thumb.press(key)
    page.wait_for_timeout(400)
    drawn(page)


def pressed(page: Page, name: str) -> None:
    """Press the button of that name."""
    page.get_by_role("button", name=name, exact=True).click()


def taken(page: Page, button: Any) -> bytes:
    """What a download button gives."""
    with page.expect_download() as download:
        button.click()
    return Path(download.value.path()).read_bytes()


def csv_of(page: Page, name: str) -> str:
    """The rows of the chart or table of that name."""
    key = re.sub(r"[^\w-]", "-", f"csv-{name}", flags=re.ASCII)
    return taken(page, page.locator(f".st-key-{key} button")).decode()


def violations(page: Page) -> list[str]:
    """What axe finds serious or critical: rule and element."""
    from axe_playwright_python.base import AXE_FILE_PATH

    page.evaluate(Path(AXE_FILE_PATH).read_text(encoding="utf-8"))
    found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
    return [
        f"{rule['id']}: {node['html'][:200]}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]
