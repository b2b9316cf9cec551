"""How quick the dashboard is, measured in the browser: `python -m benchmarks.dashboard`.

first page      from the request for `/` to all of page Answer drawn: cards, sliders, chart. A
                browser without a cache; the server's first visitor, and later ones
slider          from the key press on the load's slider to another number of GPUs in closed form
simulated       from *Simulate* on `baseline` (its peak, three replications) to the intervals

Prints a line for each and all of it as JSON on the last one.
"""

import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.dashboard.served import DRAWN, chromium, dashboard
from kaiju_sim.simulation import is_warm, warm_up

VISITS, PRESSES, RUNS = 7, 15, 3
TARGETS = {"first page": 3.0, "later visitors": 3.0, "slider": 0.2, "simulated": 10.0}
"""Seconds."""
CHART = "[data-testid=stVegaLiteChart] :is(canvas, svg)"
WATCH = """() => {
    const gpus = () => document.querySelector('[data-testid=stMetricValue]')?.innerText;
    const was = gpus();
    window.took = new Promise(done => {
        let pressed;
        const press = () => pressed = performance.now();
        window.addEventListener('keydown', press, {capture: true, once: true});
        const seen = new MutationObserver(() => {
            if (!gpus() || gpus() === was) return;
            seen.disconnect();
            requestAnimationFrame(() => done(performance.now() - pressed));
        });
        const all = {subtree: true, childList: true, characterData: true};
        seen.observe(document.querySelector('[data-testid=stMain]'), all);
    });
}"""
"""Times from a key press to other GPUs on the screen."""


def main() -> None:
    """Measure and print."""
    if not is_warm():
        warm_up()
    with (
        tempfile.TemporaryDirectory() as folder,
        dashboard(Path(folder)) as address,
        chromium() as browser,
    ):
        visits = [visit(browser, address) for _ in range(VISITS)]
        found = {
            "first page": visits[:1],
            "later visitors": visits[1:],
            "slider": presses(browser, address),
            "simulated": [simulated(browser, address) for _ in range(RUNS)],
        }
    for name, seconds in found.items():
        print(line(name, seconds))  # noqa: T201
    print(json.dumps({"dashboard": found, "cores": os.cpu_count()}))  # noqa: T201


def line(name: str, seconds: list[float]) -> str:
    """Median, range, and what is asked for."""
    low, high = min(seconds), max(seconds)
    return (
        f"{name:15} {statistics.median(seconds):6.2f} s  ({low:.2f} to {high:.2f} in"
        f" {len(seconds)}; at most {TARGETS[name]:g} s)"
    )


def visit(browser: Any, address: str) -> float:
    """A new visitor: seconds until page Answer is drawn."""
    page = opened(browser, address)
    took = page.evaluate("performance.now()") / 1000
    page.context.close()
    return float(took)


def opened(browser: Any, address: str) -> Any:
    """A new visitor's page Answer, drawn."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.goto(address, wait_until="commit")
    page.wait_for_selector(CHART)
    page.wait_for_function(DRAWN)
    return page


def presses(browser: Any, address: str) -> list[float]:
    """Seconds of each key press; the first one is left out, as nobody has pressed before."""
    page = opened(browser, address)
    thumb = page.get_by_test_id("stSlider").locator("input").first
    found = []
    for place in range(PRESSES + 1):
        page.evaluate(WATCH)
        thumb.focus()
        thumb.press("PageUp" if place % 2 else "PageDown")
        found.append(page.evaluate("took") / 1000)
        page.wait_for_function(DRAWN)
    page.context.close()
    return found[1:]


def simulated(browser: Any, address: str) -> float:
    """Seconds from *Simulate* to the answer with its intervals."""
    page = opened(browser, address)
    page.evaluate("addEventListener('click', () => window.began ??= performance.now(), true)")
    page.get_by_role("button", name="Simulate", exact=True).click()
    page.get_by_test_id("stMetricValue").filter(has_text="±").first.wait_for(timeout=300_000)
    took = page.evaluate("performance.now() - began") / 1000
    page.context.close()
    return float(took)


if __name__ == "__main__":
    main()
