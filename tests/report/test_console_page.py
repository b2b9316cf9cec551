"""The console page against a golden copy, and its numbers as people read them."""

import io
import os
from pathlib import Path

import pytest
from made_up_run import summary
from rich.console import Console

from kaiju_sim.report import format as shown
from kaiju_sim.report import headline, metrics_doc
from kaiju_sim.report.console import print_summary, render
from kaiju_sim.report.glossary import METRICS, ordered, undocumented

GOLDEN = Path(__file__).with_name("console.txt")
ROOT = Path(__file__).parents[2]


def page(values: dict[str, object], title: str = "") -> str:
    out = io.StringIO()
    print_summary(values, out, title)
    return out.getvalue()


def test_the_page_is_the_golden_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    text = page(summary(), "evening, seed 7")
    if os.environ.get("KAIJU_WRITE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()
    assert max(map(len, text.splitlines())) <= 100


def test_the_answer_stands_in_the_first_lines() -> None:
    first = page(summary(), "evening, seed 7").splitlines()[:5]
    assert "8 × H100-80GB" in first[1]
    assert "USD per message" in first[1]
    assert first[2].startswith("stable")
    assert first[4].startswith("source: roofline")


@pytest.mark.parametrize("missing", [metric.key for metric in METRICS])
def test_any_key_may_be_missing_or_null(missing: str) -> None:
    values = summary()
    values.pop(missing, None)
    assert page(values)
    assert page(values | {missing: None})


def test_an_empty_summary_is_a_page_of_dashes() -> None:
    assert "source: unknown" in page({})


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("settles later", "Measured from 200 s"),
        ("not settled", "has not settled"),
    ],
)
def test_a_transient_in_the_cohort_is_warned_of(word: str, text: str) -> None:
    shown_page = page(summary(run__steady_state=word, run__warm_up_detected_s=None))
    assert "warning" not in page(summary())
    (line,) = [line for line in shown_page.splitlines() if line.startswith("warning: ")]
    assert text in line.replace("3.33 min", "200 s")


INTERVALS = {
    "ttft_s.p50": {"half_width": 0.0123},
    "ttft_s.p99": {"half_width": None},
    "fleet.gpus": {"half_width": 0.0},
    "prefix_hit_rate": {"half_width": 0.0042},
    "cost.usd_per_message": {"half_width": 3.21e-8},
    "realised.messages_per_s": {"half_width": 1.26},
}


def test_intervals_stand_beside_their_figures() -> None:
    out = io.StringIO()
    print_summary(summary(run__replications=8), out, "evening", INTERVALS)
    text = out.getvalue()
    assert "Means of 8 replications" in text
    assert max(map(len, text.splitlines())) <= 100
    for shown_value in (
        "180 ±12 ms",
        " 954 ms",
        "93.1 ±0.42 %",
        "0.00000578 ±0.000000032 USD",
        "904 ±1.3 messages/s",
    ):
        assert shown_value in text, shown_value
    assert "Means of" not in page(summary())


def test_a_narrow_terminal_cuts_nothing_off() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    with console.capture() as shown_page:
        console.print(render(summary(), "evening", 80))
    assert "…" not in shown_page.get()


def test_a_quantile_among_the_lost_is_infinite() -> None:
    text = page(summary(ttft_s__p99=None, tpot_s__p50=None, tpot_s__count_inf=0))
    row = next(line for line in text.splitlines() if line.startswith("Time to first token"))
    assert "∞" in row
    row = next(line for line in text.splitlines() if line.startswith("Time per output"))
    assert "∞" not in row


@pytest.mark.parametrize(
    ("value", "kind", "text"),
    [
        (None, "count", "–"),
        (0.0, "duration", "0 s"),
        (2.5e-5, "duration", "25.0 us"),
        (0.0999996, "duration", "100 ms"),
        (0.99951, "duration", "1.00 s"),
        (119.0, "duration", "119 s"),
        (600.0, "duration", "10.0 min"),
        (90000.0, "duration", "25.0 h"),
        (0.5, "fraction", "50.0 %"),
        (0.99999999, "fraction", "99.999 %"),
        (1.0, "fraction", "100.0 %"),
        (0.0000057812, "usd", "0.00000578"),
        (12.345, "usd", "12.35"),
        (1234.5, "usd", "1,234"),
        (1234567, "count", "1,234,567"),
        (0.123456, "rate", "0.123"),
        (462832.4, "rate", "462,832"),
        (3e-12, "rate", "3.00e-12"),
        ("x", "text", "x"),
    ],
)
def test_numbers_read_well(value: object, kind: shown.Kind, text: str) -> None:
    assert shown.show(value, kind) == text


def test_known_error_bounds_are_said() -> None:
    note = headline.source_note(
        summary(
            profile__source="measured", profile__rel_error_low=-0.04, profile__rel_error_high=0.05
        )
    )
    assert "fitted to measurements" in note
    assert "−4.0 % to +5.0 %" in note


def test_the_glossary_knows_each_key_once_and_orders_by_it() -> None:
    keys = [metric.key for metric in METRICS]
    assert len(keys) == len(set(keys))
    assert undocumented(summary()) == []
    assert undocumented({"new.key": 1}) == ["new.key"]
    assert list(ordered({"zz": 1, "quantile_rel_error": 0, "verdict": "stable"})) == [
        "verdict",
        "quantile_rel_error",
        "zz",
    ]


def test_the_metrics_page_is_up_to_date() -> None:
    assert (ROOT / "docs" / "metrics.md").read_text() == metrics_doc.markdown()
