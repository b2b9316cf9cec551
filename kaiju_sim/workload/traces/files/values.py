"""Checks of single values, so that every format refuses the same things in the same words.

Numbers from text stay exact (`int`, or `Decimal` for fractions) until they are nanoseconds: a
float would lose the last digits of a time stamp that counts from 1970.
"""

import re
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from kaiju_sim.workload.traces.model import RowError

MAX_TOKENS = 100_000_000
"""Most tokens that a row may have, in or out."""
MAX_SECONDS = 9_000_000_000
"""Latest time (the year 2255 from 1970): in nanoseconds it still fits 63 bits."""
MAX_ID = 2**63 - 1
"""Largest session, character or block id."""

_WHOLE = re.compile(r"-?[0-9]{1,30}", re.ASCII)
_DECIMAL = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?", re.ASCII)
_STAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]([0-9]{2}:[0-9]{2}:[0-9]{2})"
    r"(?:\.([0-9]{1,9}))?(?:Z|\+00:00)?",
    re.ASCII,
)


def shown(value: object) -> str:
    """A value from a file, short and on one line whatever it holds."""
    match value:
        case list():
            return "a list"
        case dict():
            return "an object"
        case None | "":
            return "empty"
        case int() | Decimal() if not isinstance(value, bool):
            text = str(value)
        case _:
            text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def number_or_text(text: str) -> int | Decimal | str:
    """The number that a CSV cell spells in plain ASCII, or the cell as it stands."""
    if _WHOLE.fullmatch(text):
        return int(text)
    if _DECIMAL.fullmatch(text):
        return Decimal(text)
    return text


def whole(column: str, value: object, low: int, high: int) -> int:
    """A whole number in [low, high]; `RowError` names the column and the allowed values."""
    if type(value) is int and low <= value <= high:
        return value
    raise RowError(f"{column} is {shown(value)}: use a whole number from {low} to {high:,}")


def tokens(column: str, value: object) -> int:
    """A length in tokens, at least 1."""
    return whole(column, value, 1, MAX_TOKENS)


def identity(column: str, value: object) -> int:
    """An id of a session or character."""
    return whole(column, value, 0, MAX_ID)


def block_ids(column: str, value: object) -> Sequence[int]:
    """A list of block ids."""
    if not isinstance(value, list):
        raise RowError(f"{column} is {shown(value)}: use a list of whole numbers")
    # The common case in two passes at C speed; the slow pass only finds what to complain about.
    if set(map(type, value)) <= {int} and (not value or (min(value) >= 0 and max(value) <= MAX_ID)):
        return value
    return [whole(f"an id in {column}", item, 0, MAX_ID) for item in value]


def time_ns(column: str, value: object, unit_ns: int) -> int:
    """A time counted in units of `unit_ns` nanoseconds, as nanoseconds (ties to even)."""
    top = MAX_SECONDS * 1_000_000_000 // unit_ns
    exact = Decimal(repr(value)) if type(value) is float else value
    usable = type(exact) is int or (isinstance(exact, Decimal) and exact.is_finite())
    if not usable or not 0 <= exact <= top:  # type: ignore[operator]
        raise RowError(f"{column} is {shown(value)}: use a number from 0 to {top:,}")
    if isinstance(exact, Decimal):
        return int((exact * unit_ns).to_integral_value())
    assert isinstance(exact, int)
    return exact * unit_ns


def stamp_ns(column: str, value: object) -> int:
    """A UTC date and time with up to nine fractional digits, as nanoseconds since 1970."""
    match = _STAMP.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise RowError(f"{column} is {shown(value)}: use 'YYYY-MM-DD HH:MM:SS.fffffff' (UTC)")
    date, clock, fraction = match.groups()
    try:
        moment = datetime.fromisoformat(f"{date} {clock}").replace(tzinfo=UTC)
    except ValueError:
        raise RowError(f"{column} is {shown(value)}: there is no such date or time") from None
    seconds = int(moment.timestamp())
    return time_ns(column, seconds, 1_000_000_000) + int((fraction or "0").ljust(9, "0"))


def no_twins(names: Collection[str]) -> None:
    """`RowError` if a column name appears twice."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise RowError(f"column {shown(name)} appears twice")
        seen.add(name)
