"""A dashboard that is served, and visitors with a real headless Chromium who find it faultless.

Skipped with a word where there is no browser; with KAIJU_REQUIRE_BROWSER=1 that is a failure.
"""

import importlib.util
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from app_visit import LOADED_MS, Page, watch

from benchmarks.dashboard import served

NEEDED = ("streamlit", "altair", "playwright", "axe_playwright_python")


def browser_path() -> str:
    """Debian's Chromium; skips (or, where it is asked for, fails) without it or its driver."""
    path = served.chromium_path()
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
    with served.dashboard(tmp_path_factory.mktemp("jobs")) as address:
        yield address


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser for which no host has an address but this machine."""
    with served.chromium(browser_path()) as browser:
        yield browser


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
