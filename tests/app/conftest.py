"""A dashboard that is served, and visitors with a real headless Chromium who find it faultless.

Skipped with a word where there is no browser; with KAIJU_REQUIRE_BROWSER=1 that is a failure.
"""

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("streamlit", "altair", "playwright", "axe_playwright_python")
LOADED_MS, SIMULATED_MS = 30_000, 240_000
NO_HOST_BUT_OURS = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
DRAWN = """() => {
    const app = document.querySelector('[data-testid=stApp]');
    return app?.dataset.testScriptState === 'notRunning' && document.querySelector('h1')
        && !document.querySelector('[data-stale=true], [data-testid=stSkeleton]');
}"""
Page = Any
"""A tab: playwright's Page."""


def browser_path() -> str:
    """Debian's Chromium; skips (or, where it is asked for, fails) without it or its driver."""
    path = shutil.which("chromium") or shutil.which("chromium-browser")
    lacking = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if path is not None and not lacking:
        return path
    what = ", ".join([*lacking, *([] if path else ["chromium"])])
    missing = f"no browser tests: {what} not there (make browser, make setup)"
    if os.environ.get("KAIJU_REQUIRE_BROWSER") == "1":
        pytest.fail(missing)
    pytest.skip(missing)


@pytest.fixture(scope="session")
def dashboard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a dashboard that is served, as `make app` does, and ended."""
    browser_path()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "--server.port", str(port)],
        cwd=ROOT,
        env=os.environ | {"KAIJU_APP_DIR": str(tmp_path_factory.mktemp("jobs"))},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(f"{address}/_stcore/health")
        yield address
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait(url: str) -> None:
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the dashboard does not start")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser for which no host has an address but this machine."""
    path = browser_path()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=path, args=["--no-sandbox", NO_HOST_BUT_OURS]
        )
        yield browser
        browser.close()


@pytest.fixture
def faults() -> list[str]:
    """What visitors met that they must not: errors in the console, requests to anybody else."""
    return []


@pytest.fixture
def visitor(chromium: Any, dashboard: str, faults: list[str]) -> Iterator[Callable[..., Page]]:
    """Gives a tab of a visitor of his own; at the end none of them met a fault."""
    contexts = []

    def arrives(**settings: Any) -> Page:
        size = settings.pop("viewport", {"width": 1280, "height": 1600})
        contexts.append(chromium.new_context(base_url=dashboard, viewport=size, **settings))
        page = contexts[-1].new_page()
        page.set_default_timeout(LOADED_MS)
        watch(page, dashboard, faults)
        return page

    yield arrives
    for context in contexts:
        context.close()
    assert faults == []


@pytest.fixture
def tab(visitor: Callable[..., Page]) -> Page:
    """The tab of one visitor."""
    return visitor()


def watch(page: Page, address: str, faults: list[str]) -> None:
    """Note errors in the console, faults of the page, and requests to anybody but the dashboard."""
    own = (address, address.replace("http", "ws"), "data:", "blob:", "file:")
    page.on("console", lambda m: m.type == "error" and faults.append(f"console: {m.text}"))
    page.on("pageerror", lambda error: faults.append(f"page: {error}"))
    for event in ("request", "websocket"):
        page.on(event, lambda asked: asked.url.startswith(own) or faults.append(asked.url))


def opened(page: Page, link: str) -> Page:
    """The page once the link's view is drawn."""
    page.goto(link)
    drawn(page)
    return page


def drawn(page: Page) -> None:
    """Wait until Streamlit has drawn all of the page."""
    page.wait_for_function(DRAWN)


def simulated(page: Page) -> None:
    """Wait for a run that was asked for, and its page."""
    page.get_by_role("button", name="report.html").wait_for(timeout=SIMULATED_MS)
    drawn(page)


def move(page: Page, label: str, key: str, times: int = 1) -> None:
    """Press a key on a slider, its last thumb where it has two."""
    thumb = page.get_by_test_id("stSlider").filter(has_text=label).locator("input").last
    thumb.focus()
    for _ in range(times):
        thumb.press(key)


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
