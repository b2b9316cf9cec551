"""What each of four people does with the dashboard, in a real headless Chromium without a network:
a planner, an on-call engineer, a finance person, someone who learns how such a system works.
"""

import csv
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from app_visit import (
    SMALL,
    Page,
    csv_of,
    drawn,
    move,
    opened,
    pressed,
    simulated,
    taken,
    violations,
)

from app.ui.links import packed

GARBAGE = b'{"timestamp": 1, "input_length": "many"}\n\x00\xff not a trace'


def card(page: Page, name: str) -> str:
    """The figure of the first card of that name."""
    card = page.get_by_test_id("stMetric").filter(has_text=name).first
    return str(card.get_by_test_id("stMetricValue").inner_text())


def changed(page: Page, name: str, was: str) -> str:
    """The card's figure once it is another one."""
    value = page.get_by_test_id("stMetric").filter(has_text=name).first
    shown = value.get_by_test_id("stMetricValue")
    shown.filter(has_not_text=was).wait_for()
    return str(shown.inner_text())


def usd(text: str) -> float:
    """The number in a card's figure."""
    return float(re.sub(r"[^\d.]", "", text))


def rows(text: str) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    return list(csv.DictReader(io.StringIO(text)))


def test_a_planner_moves_sliders_simulates_and_takes_the_run_along(
    visitor: Callable[..., Page], tmp_path: Path
) -> None:
    page = opened(visitor(), "/")
    gpus = card(page, "GPUs")
    move(page, "Load (messages/s)", "ArrowRight", 5)
    assert int(changed(page, "GPUs", gpus)) > int(gpus)
    assert "load-baseline=" in page.url
    pressed(page, "Simulate")
    page.get_by_role("progressbar").first.wait_for()
    simulated(page)
    assert violations(page) == []
    beside = rows(csv_of(page, "beside"))
    assert {"closed form", "simulated"} <= set(beside[0])
    p99 = page.get_by_test_id("stMetric").filter(has_text="TTFT p99")
    assert "±" in p99.get_by_test_id("stMetricValue").inner_text()
    report = tmp_path / "report.html"
    report.write_bytes(taken(page, page.get_by_role("button", name="report.html")))
    archive = zipfile.ZipFile(
        io.BytesIO(taken(page, page.get_by_role("button", name="Run directory (zip)")))
    )
    assert {"run/summary.json", "run/scenario.yaml", "run/report.html"} <= set(archive.namelist())
    follows(page)
    page.goto(report.as_uri())
    page.get_by_role("heading").first.wait_for()


def follows(page: Page) -> None:
    """Another load is another run, without the button."""
    was = page.url.partition("job=")[2]
    move(page, "Load (messages/s)", "ArrowLeft")
    page.wait_for_function("was => !location.href.includes(was)", arg=was)
    pressed(page, "Cancel")
    page.get_by_text("The run was cancelled").wait_for()


def test_a_planner_changes_the_scenario_as_text_and_is_told_the_line_of_a_mistake(
    tab: Page,
) -> None:
    opened(tab, "/")
    tab.get_by_text("Edit it as YAML").click()
    text = tab.get_by_label("Scenario as YAML")
    shipped = text.input_value()
    text.fill(f"{SMALL}flet: 1\n")
    text.press("Control+Enter")
    told = tab.get_by_test_id("stAlert").filter(has_text="Line 18")
    told.wait_for()
    assert "fleet" in told.inner_text()
    text.fill(SMALL)
    text.press("Control+Enter")
    told.wait_for(state="detached")
    tab.wait_for_url("**scenario-yaml=*")
    drawn(tab)
    assert int(card(tab, "GPUs")) < 10
    pressed(tab, "As shipped")
    tab.wait_for_function("!location.href.includes('yaml')")
    drawn(tab)
    tab.wait_for_function("text => document.querySelector('textarea').value === text", arg=shipped)


def test_an_engineer_plays_an_incident_scrubs_and_sees_what_a_later_alarm_costs(tab: Page) -> None:
    opened(tab, "/incidents?incident=replica_loss")
    pressed(tab, "Play")
    simulated(tab)
    assert violations(tab) == []
    first = csv_of(tab, "ledger")
    whole = [float(row["minutes"]) for row in rows(csv_of(tab, "timeline-waiting (messages)"))]
    move(tab, "Minutes shown", "ArrowLeft", 20)
    tab.wait_for_url("**minutes=*")
    drawn(tab)
    part = [float(row["minutes"]) for row in rows(csv_of(tab, "timeline-waiting (messages)"))]
    assert max(whole) > 45
    assert max(part) <= 30
    kinds = {row["kind"] for row in rows(csv_of(tab, "events"))}
    assert {"fault", "incident"} <= kinds
    move(tab, "The alarm reaches people later", "ArrowRight", 10)
    move(tab, "From the alarm to the remedy", "ArrowRight", 10)
    tab.get_by_text("press Play for these").wait_for()
    pressed(tab, "Play")
    tab.get_by_text("press Play for these").wait_for(state="detached")
    simulated(tab)
    assert csv_of(tab, "ledger") != first


def test_a_finance_person_changes_the_price_and_reads_the_audit(tab: Page) -> None:
    opened(tab, "/")
    cost, margin = card(tab, "USD per 1,000 messages"), card(tab, "Margin")
    move(tab, "USD per GPU hour", "End")
    assert usd(changed(tab, "USD per 1,000 messages", cost)) > usd(cost)
    assert usd(changed(tab, "Margin", margin)) < usd(margin)
    assert rows(csv_of(tab, "closed-form"))
    assert taken(tab, tab.locator(".st-key-PNG-closed-form button")).startswith(b"\x89PNG")
    assert taken(tab, tab.locator(".st-key-SVG-closed-form button")).startswith(b"<svg")
    tab.get_by_role("link", name="Audit").click()
    tab.get_by_role("heading", name="Audit").wait_for()
    drawn(tab)
    tab.get_by_label("Words in the claim").fill("cost")
    tab.get_by_label("Words in the claim").press("Enter")
    tab.wait_for_url("**words=cost*")
    drawn(tab)
    claims = rows(csv_of(tab, "claims"))
    assert 0 < len(claims) < 60
    assert {"claim", "verdict"} <= set(claims[0])


def test_a_learner_breaks_the_routing_and_reads_why(tab: Page) -> None:
    opened(tab, f"/break_it?break=no-affinity&scenario-yaml={packed(SMALL)}")
    pressed(tab, "Break it")
    simulated(tab)
    assert violations(tab) == []
    why = tab.get_by_role("listitem").all_inner_texts()
    assert any("found in caches" in words for words in why)
    assert any("TTFT" in words for words in why)
    assert {"input", "as shipped", "broken"} <= set(rows(csv_of(tab, "inputs"))[0])


def test_a_learner_looks_at_traffic_of_his_own_and_at_what_is_trusted(
    tab: Page, tmp_path: Path
) -> None:
    opened(tab, "/traffic")
    assert rows(csv_of(tab, "reuse"))
    trace = tmp_path / "mine.csv"
    trace.write_text("arrival_s,input_tokens,output_tokens\n0,100,10\n1,200,20\n3,50,5\n")
    tab.locator("input[type=file]").set_input_files(trace)
    tab.get_by_test_id("stMetric").filter(has_text="Requests").get_by_text("3").wait_for()
    drawn(tab)
    assert len(rows(csv_of(tab, "lengths"))) >= 2
    tab.get_by_role("link", name="Trust").click()
    tab.get_by_role("heading", name="Trust").wait_for()
    drawn(tab)
    assert {row["kept"] for row in rows(csv_of(tab, "judged"))} <= {"yes", "no"}


def test_uploads_that_are_none_are_told_in_words(tab: Page, tmp_path: Path) -> None:
    opened(tab, "/traffic")
    chooser = tab.locator("input[type=file]")
    broken, large = tmp_path / "broken.jsonl", tmp_path / "large.jsonl"
    broken.write_bytes(GARBAGE)
    chooser.set_input_files(broken)
    told = tab.get_by_test_id("stAlert").filter(has_text="the trace")
    told.wait_for()
    assert "Traceback" not in told.inner_text()
    with large.open("wb") as file:
        file.truncate(21 << 20)
    tab.reload()
    drawn(tab)
    chooser.set_input_files(large)
    tab.get_by_text("20.0MB or smaller").or_(tab.get_by_text("20MB or smaller")).wait_for()


def test_two_people_have_a_state_and_a_run_of_their_own_each(
    visitor: Callable[..., Page],
) -> None:
    """One cancels and the other's goes on; a run survives a reload of its page."""
    one, other = opened(visitor(), "/"), opened(visitor(), "/")
    move(one, "Load (messages/s)", "ArrowRight", 20)
    one.wait_for_url("**load-baseline=*")
    started(one)
    other.reload()
    drawn(other)
    assert "load-baseline" not in other.url
    assert other.get_by_role("button", name="Cancel").count() == 0
    started(other)
    assert one.url != other.url
    pressed(one, "Cancel")
    one.get_by_text("The run was cancelled").wait_for()
    other.reload()
    other.get_by_role("button", name="Cancel").wait_for()
    pressed(other, "Cancel")
    other.get_by_text("The run was cancelled").wait_for()


def started(page: Page) -> None:
    """Start a run, and see that it has."""
    pressed(page, "Simulate")
    page.wait_for_url("**job=*")
    page.get_by_role("button", name="Cancel").wait_for()
