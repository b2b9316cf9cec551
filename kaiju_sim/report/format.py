"""Numbers as people read them. Only at the edge: everything inside stays plain SI.

Three significant digits, a unit that keeps them near 1, thousands separated. A quantile that falls
among messages that never got there is shown as an infinity sign, any other missing value as a dash.
"""

from collections.abc import Callable, Mapping
from typing import Any

from kaiju_sim.report.glossary import Kind

MISSING = "–"
INFINITE = "∞"


def significant(value: float, digits: int = 3) -> str:
    """`value` to so many significant digits, never in exponent form between 1e-9 and 1e15."""
    if value == 0:
        return "0"
    exponent = int(f"{abs(value):.{digits - 1}e}".split("e")[1])
    if not -10 < exponent < 15:
        return f"{value:.{digits - 1}e}"
    decimals = digits - 1 - exponent
    return f"{value:,.{max(decimals, 0)}f}"


def duration(seconds: float) -> str:
    """Seconds in the unit that reads best: "312 ms", "1.24 s", "5.20 min", "3.10 h"."""
    size = abs(seconds)
    if size == 0:
        return "0 s"
    if size < 0.9995e-3:
        return f"{significant(seconds * 1e6)} us"
    if size < 0.9995:
        return f"{significant(seconds * 1e3)} ms"
    if size < 120:
        return f"{significant(seconds)} s"
    if size < 7200:
        return f"{significant(seconds / 60)} min"
    return f"{significant(seconds / 3600)} h"


def percent(fraction: float) -> str:
    """A fraction as percent for people, with the digits that matter near 100 %."""
    if 0.999 < fraction < 1:
        return f"{min(fraction, 0.9999949) * 100:.3f} %"
    return f"{fraction * 100:.1f} %"


def usd(amount: float) -> str:
    """An amount of USD: whole from 1,000 on, cents from 0.1 on, three digits below."""
    if abs(amount) >= 999.995:
        return f"{amount:,.0f}"
    return f"{amount:,.2f}" if abs(amount) >= 0.0995 else significant(amount)


def count(value: float) -> str:
    """A whole number with thousands separated."""
    return f"{value:,.0f}"


def rate(value: float) -> str:
    """A rate or a plain number."""
    return significant(value) if abs(value) < 1000 else f"{value:,.0f}"


_FORMATS: dict[str, Callable[[float], str]] = {
    "duration": duration,
    "fraction": percent,
    "count": count,
    "rate": rate,
    "usd": usd,
    "number": rate,
}


def show(value: Any, kind: Kind) -> str:
    """One value of the summary for people; None is a dash."""
    if value is None:
        return MISSING
    if kind == "text" or isinstance(value, str | bool):
        return str(value)
    return _FORMATS[kind](float(value))


def show_key(summary: Mapping[str, Any], key: str, kind: Kind) -> str:
    """`summary[key]` for people; a latency quantile that is null because of `count_inf` is ∞."""
    value = summary.get(key)
    family, _, statistic = key.rpartition(".")
    quantile = statistic[:1] == "p" and statistic[1:].isdigit()
    if value is None and quantile and summary.get(f"{family}.count_inf"):
        return INFINITE
    return show(value, kind)


def with_half(text: str, intervals: Mapping[str, Any], key: str) -> str:
    """A shown value with half the width of its interval, in its own unit: "312 ±35 ms".

    As it is where there is no interval, or one of no width (the value is the same in every run).
    """
    half = intervals.get(key, {}).get("half_width")
    if not half:
        return text
    number, _, unit = text.partition(" ")
    return f"{number} ±{significant(half / _SCALES.get(unit, 1.0), 2)} {unit}".strip()


_SCALES = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "%": 0.01}
