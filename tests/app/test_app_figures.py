"""What the pages show: the closed form, prompts, uploads and texts, and that bounds are kept."""

import csv
import io

import pytest

pytest.importorskip(
    "streamlit", reason="the dashboard's extra is not installed: pip install .[app]"
)

from app.figures import audit, breaks, closed_form, incidents, scenarios, sliders, traffic
from app.figures.dialogue import mean_prompt
from app.ui.export import csv_of
from kaiju_sim.errors import UserError
from kaiju_sim.planner.breakits.names import BREAK_ITS


@pytest.mark.parametrize("name", scenarios.SHIPPED)
def test_sliders_that_were_not_moved_change_nothing_but_the_price_of_a_subscription(
    name: str,
) -> None:
    found = scenarios.shipped(name)
    start = sliders.start_of(found)
    sets = sliders.settings(start, start, found.scenario)
    assert all(text.startswith("economics.") for text in sets)
    scenarios.loaded(name, sets)


def test_more_load_needs_more_gpus_and_a_higher_price_costs_more() -> None:
    found = scenarios.shipped("baseline")
    start = sliders.start_of(found)
    base = closed_form.answer_of(found)
    moved = sliders.Sliders(**{**vars(start), "load": start.load * 2, "price": start.price * 3})
    sets = sliders.settings(start, moved, found.scenario)
    other = closed_form.answer_of(scenarios.loaded("baseline", sets))
    assert other.plan.gpus > 1.8 * base.plan.gpus
    assert other.plan.usd_per_message > 2.5 * base.plan.usd_per_message


def test_a_single_turn_misses_all_but_the_shared_head() -> None:
    found = scenarios.shipped("case_study").scenario
    mean = mean_prompt(found)
    assert mean.uncached == found.prompt.persona_tokens + 4000
    assert mean.prompt == pytest.approx(mean.uncached + 6000 + found.prompt.date_tokens)


def test_the_walked_dialogue_agrees_with_the_formula_at_the_limit() -> None:
    """docs/model.md, section 3: a turn misses t + (limit - step - head) x t / step."""
    sets = [
        *("prompt.limit=7600", "prompt.truncation_step=2000", "prompt.persona_tokens=0"),
        *(
            "traffic.sessions.turns.mean=1900",
            "traffic.sessions.initial_history={kind: constant, value: 7000}",
        ),
        *("characters.definition_tokens={kind: constant, value: 1000}",),
    ]
    found = scenarios.loaded("published", sets).scenario
    mean = mean_prompt(found)
    turn, head = 180.0, 1000.0 + found.prompt.date_tokens
    missed = 40.0 + (7600 - 2000 - head) * turn / 2000
    assert mean.uncached == pytest.approx(missed, rel=0.03)


def test_an_objective_that_no_fleet_meets_is_said() -> None:
    with pytest.raises(UserError, match="cannot be met"):
        closed_form.answer_of(scenarios.loaded("baseline", ["slo.ttft=50ms"]))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("extends: /etc/passwd", "cannot name a file"),
        ("overrides: {x: {traffic: {trace: {file: a.csv}}}}", "cannot name a file"),
        ("fleet: {groups: [{profile: ../x.json}]}", "cannot name a file"),
        ("a: [", "scenario:"),
        ("a: !!python/object/apply:os.system [ls]", "constructor"),
        ("x" * 50_000, "characters"),
    ],
)
def test_a_typed_text_is_refused_before_it_is_loaded(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        scenarios.check_text(text)


def test_the_example_has_rate_lengths_and_reuse() -> None:
    trace = traffic.read(traffic.example(), "jsonl")
    found = traffic.figures(trace)
    rate = traffic.rate(trace)
    total = sum(row["per_s"] for row in rate) * trace.span_ns * 1e-9 / len(rate)
    assert total == pytest.approx(trace.rows, rel=1e-3)
    hits = [row["hit"] for row in traffic.reuse(found) if row["of"] == "tokens"]
    assert hits == sorted(hits)


@pytest.mark.parametrize(
    ("content", "ending"),
    [
        (b"", "csv"),
        (b"\xff\xfe\x00garbage", "jsonl"),
        (b"PAR1 no", "parquet"),
        (b"a,b\n1,2\n", "csv"),
    ],
)
def test_a_file_that_is_no_trace_is_a_mistake_not_a_crash(content: bytes, ending: str) -> None:
    with pytest.raises(UserError):
        traffic.read(content, ending)


@pytest.mark.parametrize("name", ["x.exe", "csv", "../a.yaml", ""])
def test_other_endings_are_not_taken(name: str) -> None:
    with pytest.raises(UserError):
        traffic.ending_of(name)


def test_a_large_file_is_refused_unread() -> None:
    with pytest.raises(UserError, match="bytes"):
        traffic.read(b" " * (traffic.MOST_BYTES + 1), "csv")


def test_a_csv_holds_every_row_and_no_formula() -> None:
    rows = [{"a": "=1+1", "b": 2}, {"a": "x", "c": -3}]
    found = list(csv.DictReader(io.StringIO(csv_of(rows))))
    assert [row["a"] for row in found] == ["'=1+1", "x"]
    assert found[1]["c"] == "-3"


@pytest.mark.parametrize("name", scenarios.INCIDENTS)
def test_every_incident_takes_its_delays_and_strikes_within_what_is_shown(name: str) -> None:
    found = scenarios.loaded(name, incidents.settings(3, 10)).scenario
    (one,) = found.incidents
    assert one.detection.late == 180
    assert one.response.mttr_p50_s.value == 600
    low, high = incidents.MINUTES
    assert low * 60 < one.at < high * 60 <= found.run.horizon


def test_the_audit_has_all_rows_with_and_without_filters() -> None:
    claims = audit.with_simulated(None)
    assert len(audit.chosen([], "all", "", False, claims)) == len(audit.rows())
    both = [audit.chosen([], who, "", False, claims) for who in ("case study", "published")]
    assert sum(map(len, both)) == len(audit.rows())
    behaviour = audit.chosen([], "all", "", True, claims)
    assert {row["id"] for row in behaviour} == set(audit.studied())


def test_every_claim_that_can_be_simulated_has_a_documented_figure() -> None:
    assert set(audit.documented()) == set(audit.studied())
    first = audit.simulated_text(next(row for row in audit.rows() if row["id"] == "20"))
    assert "cached tokens/prompt token, documented" in first


@pytest.mark.parametrize("name", breaks.SCENARIOS)
def test_every_break_it_changes_what_it_is_held_against(name: str) -> None:
    source = {"scenario": name}
    known = breaks.names(source)
    assert len(known) == len(BREAK_ITS) + len(breaks.TRAINING)
    for one in known:
        base, broken = breaks.base_of(source, one), breaks.side(source, one)
        loaded = [scenarios.of_source(side).scenario for side in (base, broken)]
        assert breaks.said(one)
        assert loaded[0] != loaded[1], one
