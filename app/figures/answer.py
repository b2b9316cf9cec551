"""The answer as cards: closed form, and simulated with intervals."""

from collections.abc import Mapping
from typing import Any

from app.figures.closed_form import Answer
from kaiju_sim.audit.claim import all_inputs
from kaiju_sim.economics.plan.planner import PlanInputs, plan
from kaiju_sim.report.format import count, duration, percent, significant, usd
from kaiju_sim.report.headline import limit, verdict
from kaiju_sim.report.rundir import RunDirectory

Card = tuple[str, str, str]
"""Name, figure, what it means."""
DASH = "–"


def closed_cards(answer: Answer) -> list[Card]:
    """The closed form's figures."""
    found = answer.plan
    return [
        ("GPUs", count(found.gpus), f"{answer.replicas} replicas; queues are not looked at"),
        ("USD per 1,000 messages", usd(found.usd_per_message * 1000), "GPUs alone"),
        ("USD a month", usd(found.usd_per_month), "GPUs alone, 730 hours"),
        ("Margin", _percent(answer.margin), "1 - GPU cost of a subscriber's messages / his price"),
        ("Hit rate at best", percent(answer.message.hit_rate), "of prompt tokens; nothing evicted"),
        ("What binds", found.bottleneck, "what asks for the most GPUs"),
    ]


def simulated_cards(run: RunDirectory) -> list[Card]:
    """The simulated figures, each with half its 95 % interval where there are replications."""
    s = run.summary
    return [
        ("GPUs", count(s["fleet.gpus"]), "of the simulated fleet"),
        ("USD per 1,000 messages", _with(run, "cost.usd_per_message", _thousand), "GPUs alone"),
        ("Margin", _with(run, "cost.gross_margin", _percent), "of a subscriber, GPUs alone"),
        ("TTFT p99", _with(run, "ttft_s.p99", _duration), "time to the first token"),
        ("Hit rate", _with(run, "prefix_hit_rate", _percent), "of prompt tokens"),
        ("Objectives met", _with(run, "slo.attainment", _percent), "of the messages"),
    ]


def sentence(run: RunDirectory) -> str:
    """The verdict and what binds."""
    return f"{verdict(run.summary)} {limit(run.summary)}"


def _with(run: RunDirectory, key: str, show: Any) -> str:
    """A figure, with its interval's ends where there is one."""
    value, ends = run.summary.get(key), run.intervals.get(key)
    text = show(value)
    half = None if not ends else ends.get("half_width")
    return text if half is None or value is None else f"{text} ± {show(half)}"


def _percent(value: float | None) -> str:
    return DASH if value is None else percent(value)


def _duration(value: float | None) -> str:
    return "∞" if value is None else duration(value)


def _thousand(value: float | None) -> str:
    return DASH if value is None else significant(value * 1000, 3)


def beside(answer: Answer, summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The closed form's figures beside the simulated ones."""
    return [
        {
            "figure": "hit rate",
            "closed form": percent(answer.message.hit_rate),
            "simulated": _percent(summary.get("prefix_hit_rate")),
        },
        {
            "figure": "prompt tokens of a message",
            "closed form": count(round(answer.message.prompt)),
            "simulated": count(round(summary["realised.prompt_tokens_mean"])),
        },
        {
            "figure": "what binds",
            "closed form": answer.plan.bottleneck,
            "simulated": str(summary.get("bottleneck")),
        },
    ]


WIDGET_TOKENS, WIDGET_TTFT_S, WIDGET_USD = 512, 0.8, 2.0
"""Tokens of a message each way, TTFT of the reference batch, USD a GPU hour: the case study's."""
WIDGET_CLAIMS = ("4", "6", "7", "8", "11", "13", "16", "51")
"""Claims of the audit that the widget stands on."""


def widget(sessions: float, hit_rate: float, ttft_s: float) -> list[Card]:
    """The case study's own widget: its formulas with its constants, right or wrong."""
    found = plan(
        PlanInputs(
            messages_per_s=sessions,
            prompt_tokens=WIDGET_TOKENS,
            output_tokens=WIDGET_TOKENS,
            hit_rate=hit_rate,
            prefill_tokens_per_s=_theirs("prefill_per_gpu"),
            decode_tokens_per_s=_theirs("decode_per_gpu"),
            usd_per_gpu_hour=WIDGET_USD,
            ttft_s=ttft_s,
            reference_ttft_s=WIDGET_TTFT_S,
        )
    )
    return [
        ("Requests/s after the cache", count(found.effective_messages_per_s), "rate x (1 - hit)"),
        ("Batch factor", significant(found.batch_factor, 3), "TTFT objective / 800 ms"),
        ("GPUs by its formulas", count(found.gpus), "A100 at 2 USD an hour"),
        ("USD a month", usd(found.usd_per_month), "730 hours"),
    ]


def _theirs(name: str) -> float:
    """An input of the audit, as the case study states it."""
    return float(all_inputs()[name].value or 0.0)
