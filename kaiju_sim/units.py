"""Quantities as people write them ("500ms", "80GiB", "2.35 USD/h") and as the code uses them.

Inside, everything is plain SI: seconds, bytes, USD. At the edge a quantity carries its unit, and a
bare number is an error. Conversion is exact decimal arithmetic rounded once, so a formatter's text
always parses back to the same number.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final

TIME_UNITS: Final[Mapping[str, Decimal]] = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "min": Decimal(60),
    "h": Decimal(3600),
    "d": Decimal(86400),
}
"""Time units, in seconds."""

BYTE_UNITS: Final[Mapping[str, Decimal]] = {
    "B": Decimal(1),
    "kB": Decimal(10**3),
    "MB": Decimal(10**6),
    "GB": Decimal(10**9),
    "TB": Decimal(10**12),
    "KiB": Decimal(2**10),
    "MiB": Decimal(2**20),
    "GiB": Decimal(2**30),
    "TiB": Decimal(2**40),
}
"""Size units, in bytes."""

BANDWIDTH_UNITS: Final[Mapping[str, Decimal]] = {
    f"{unit}/s": size for unit, size in BYTE_UNITS.items() if unit != "B"
}
"""Units of a bandwidth, in bytes per second."""

PRICE_UNITS: Final[Mapping[str, Decimal]] = {"USD/h": Decimal(1)}
"""Units of a price by the hour, in USD per hour."""

SUBSCRIPTION_UNITS: Final[Mapping[str, Decimal]] = {"USD/month": Decimal(1)}
"""Units of a price by the month, in USD per month."""

NUMBER_PATTERN: Final = (
    r"[-+]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][-+]?[0-9]{1,3})?"
)
"""Numbers that a quantity may start with (bounded, so that arithmetic on them is too)."""

_QUANTITY = re.compile(rf"\s*({NUMBER_PATTERN})\s*([^\s0-9.].*?)?\s*")


def seconds(text: str) -> float:
    """Seconds from "500ms", "1.5 s", "60min", "2h", "1d"; ValueError says what is wrong."""
    return float(_parse(text, TIME_UNITS, "500ms"))


def byte_count(text: str) -> int:
    """Bytes from "80GiB" (2^30) or "80GB" (10^9); ValueError says what is wrong."""
    value = _parse(text, BYTE_UNITS, "80GiB")
    if value != value.to_integral_value():
        raise ValueError(f"{text!r} is not a whole number of bytes")
    return int(value)


def bytes_per_second(text: str) -> float:
    """Bytes per second from "50GB/s"; ValueError says what is wrong."""
    return float(_parse(text, BANDWIDTH_UNITS, "50GB/s"))


def usd_per_hour(text: str) -> float:
    """USD per hour from "2.35 USD/h"; ValueError says what is wrong."""
    return float(_parse(text, PRICE_UNITS, "2.35 USD/h"))


def usd_per_month(text: str) -> float:
    """USD per month from "10 USD/month"; ValueError says what is wrong."""
    return float(_parse(text, SUBSCRIPTION_UNITS, "10 USD/month"))


def format_seconds(value: float) -> str:
    """A time in the unit that reads best, such as "500ms", "90s" or "2h"; parses back exactly."""
    if value == 0 or not abs(value) < 1e15:
        return "0s" if value == 0 else f"{value!r}s"
    exact = Decimal(repr(float(value)))
    for unit in ("d", "h", "min"):
        if exact % TIME_UNITS[unit] == 0:
            return f"{_plain(exact / TIME_UNITS[unit])}{unit}"
    for unit in ("s", "ms", "us"):
        if abs(exact) >= TIME_UNITS[unit]:
            return f"{_plain(exact / TIME_UNITS[unit])}{unit}"
    return f"{_plain(exact / TIME_UNITS['ns'])}ns"


def format_bytes(value: int) -> str:
    """A size in the largest unit that is exact, such as "80GiB" or "80GB"."""
    units = sorted(BYTE_UNITS.items(), key=lambda item: item[1], reverse=True)
    whole = [(value // int(size), unit) for unit, size in units if value % int(size) == 0]
    count, unit = whole[0] if value else (0, "B")
    return f"{count}{unit}"


def format_bandwidth(value: float) -> str:
    """A bandwidth, such as "50GB/s"; parses back exactly."""
    exact = Decimal(repr(float(value)))
    unit = next((u for u in ("TB/s", "GB/s", "MB/s") if exact >= BANDWIDTH_UNITS[u]), "kB/s")
    return f"{_plain(exact / BANDWIDTH_UNITS[unit])}{unit}"


def format_usd_per_hour(value: float) -> str:
    """A price by the hour, such as "2.35 USD/h"."""
    return f"{_plain(Decimal(repr(float(value))))} USD/h"


def format_usd_per_month(value: float) -> str:
    """A price by the month, such as "10 USD/month"."""
    return f"{_plain(Decimal(repr(float(value))))} USD/month"


def _parse(text: str, units: Mapping[str, Decimal], example: str) -> Decimal:
    """The exact value of *text* in the units' base; a ValueError names what is allowed."""
    match = _QUANTITY.fullmatch(text)
    allowed = ", ".join(units)
    if match is None:
        raise ValueError(f"{_short(text)} is not a quantity such as {example} (units: {allowed})")
    number, unit = match.groups()
    if unit is None:
        raise ValueError(f"{number} has no unit; write for example {example} (units: {allowed})")
    if unit not in units:
        raise ValueError(f"unknown unit {_short(unit)} in {_short(text)}; allowed: {allowed}")
    return Decimal(number) * units[unit]


def _plain(value: Decimal) -> str:
    """*value* without trailing zeros, and without exponent unless that would be long."""
    text = format(value, "f")
    if len(text) > 30:
        return format(value, "e")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:37] + "...")
