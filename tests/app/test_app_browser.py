"""What people do with the dashboard, in a real headless Chromium, the server without a network.

Skipped with a word where there is no browser; with KAIJU_REQUIRE_BROWSER=1 that is a failure.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
SIMULATED_MS = 90_000

try:
    from playwright.sync_api import sync_playwright
except ModuleNotFoundError:
    sync_playwright = None
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A dashboard that is served, and ended."""
    pytest.importorskip("streamlit", reason="the dashboard's extra is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    jobs = str(tmp_path_factory.mktemp("jobs"))
    command = [sys.executable, "-m", "app", f"--server.port={port}"]
    process = subprocess.Popen(
        [*command, "--server.fileWatcherType=none"],
        cwd=ROOT,
        env=os.environ | {"KAIJU_APP_DIR": jobs, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(f"{url}/_stcore/health")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait(url: str) -> None:
    for _ in range(300):
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except OSError:
            time.sleep(0.1)
    raise AssertionError("the dashboard does not start")


@pytest.fixture
def tab(address: str) -> Iterator[Any]:
    """A tab of a headless browser, and that it asked nobody but the dashboard."""
    if sync_playwright is None or BROWSER is None:
        missing = "no browser: install the extra 'browser' and Debian's chromium"
        if os.environ.get("KAIJU_REQUIRE_BROWSER") == "1":
            pytest.fail(missing)
        pytest.skip(missing)
    foreign: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_page(base_url=address, viewport={"width": 1280, "height": 1600})
        page.on("request", lambda asked: _note(foreign, asked.url, address))
        yield page
        browser.close()
    assert foreign == []


def _note(foreign: list[str], url: str, address: str) -> None:
    if not url.startswith((address, "data:", "blob:", address.replace("http", "ws"))):
        foreign.append(url)


def test_a_planner_moves_the_load_simulates_and_finds_the_run_after_a_reload(tab: Any) -> None:
    tab.goto("/")
    tab.get_by_text("In closed form, at once").wait_for()
    thumb = tab.locator("[data-testid=stSlider] input").first
    thumb.focus()
    thumb.press("ArrowRight")
    tab.wait_for_url("**load-baseline=*")
    tab.get_by_role("button", name="Simulate", exact=True).click()
    tab.wait_for_url("**job=*")
    tab.reload()
    tab.get_by_text("The fleet").first.wait_for(timeout=SIMULATED_MS)
    assert tab.get_by_text("report.html").count() == 1


def test_a_learner_breaks_the_routing_and_reads_why(tab: Any) -> None:
    tab.goto("/break_it?break=no-affinity")
    tab.get_by_role("button", name="Simulate both").click()
    tab.get_by_text("Prompt tokens found in caches:").wait_for(timeout=SIMULATED_MS)


def test_a_link_to_a_page_is_the_page_with_our_own_navigation(tab: Any) -> None:
    tab.goto("/audit?who=published")
    tab.get_by_role("heading", name="Audit").wait_for()
    assert tab.get_by_text("streamlit app").count() == 0
    assert "who=published" in tab.url
