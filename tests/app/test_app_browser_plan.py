"""A planner on the page Plan and compare, in a real headless Chromium, with a small fleet."""

import csv
import io

from app_visit import SMALL, Page, csv_of, opened, pressed, simulated, violations

from app.ui.links import packed, short


def rows(text: str) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    return list(csv.DictReader(io.StringIO(text)))


def test_the_fewest_gpus_are_searched_and_the_fleets_looked_at_taken_along(tab: Page) -> None:
    opened(tab, f"/plan?scenario-yaml={packed(SMALL)}&window-{short(SMALL)}=3")
    pressed(tab, "Find the fewest GPUs")
    tab.get_by_role("progressbar").first.wait_for()
    simulated(tab)
    assert violations(tab) == []
    fleets = rows(csv_of(tab, "candidates"))
    assert fleets[0]["verdict"] == "passes"
    link = tab.url
    tab.goto("/")
    opened(tab, link)
    assert rows(csv_of(tab, "candidates")) == fleets


def test_the_front_of_a_grid_is_drawn(tab: Page) -> None:
    opened(tab, f"/plan?view=Pareto+front&scenario-yaml={packed(SMALL)}")
    pressed(tab, "Simulate the grid")
    simulated(tab)
    assert violations(tab) == []
    assert len(rows(csv_of(tab, "points"))) >= 2
    assert tab.get_by_test_id("stVegaLiteChart").count() == 1


def test_two_fleets_side_by_side_begin_with_the_inputs_that_differ(tab: Page) -> None:
    text = packed(SMALL)
    opened(tab, f"/plan?view=Compare+two&a-yaml={text}&b-yaml={text}&b-set=fleet.replicas%3D4")
    pressed(tab, "Compare")
    simulated(tab)
    assert violations(tab) == []
    headings = tab.get_by_role("heading").all_inner_texts()
    assert headings.index("Inputs that differ") < headings.index("Figures")
    inputs = rows(csv_of(tab, "inputs"))
    assert [row["input"] for row in inputs] == ["fleet.replicas"]
    assert rows(csv_of(tab, "figures"))
