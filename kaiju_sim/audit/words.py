"""Figures of the audit as people read them."""

from collections.abc import Mapping, Sequence
from typing import Any

from kaiju_sim.report.format import MISSING, significant

RELATIONS = {"is": "", "at_most": "at most ", "at_least": "at least "}
_LARGE = ((1e15, "e15"), (1e12, " trillion"), (1e9, " billion"), (1e6, " million"))


def number(value: float) -> str:
    """Four significant digits, large ones in words: "231,000", "10.24 billion", "0.001333"."""
    for size, word in _LARGE:
        if abs(value) >= size:
            return f"{_trimmed(significant(value / size, 4))}{word}"
    if value == round(value) and abs(value) < 1e6:
        return f"{value:,.0f}"
    return _trimmed(significant(value, 4))


def shown(value: Any, unit: str = "") -> str:
    """A value with its unit; nothing there is a dash."""
    if value is None:
        return MISSING
    if isinstance(value, str):
        return value
    return f"{number(value)} {unit}".strip()


def spread(entry: Mapping[str, Any] | None) -> str:
    """A simulated value with its interval: "14.6 (14.4 to 14.7) times"."""
    if entry is None or entry["value"] is None:
        return MISSING
    middle, low, high = (significant(entry[key], 3) for key in ("value", "low", "high"))
    return f"{middle} ({low} to {high}) {entry['unit']}".strip()


def verdicts(row: Mapping[str, Any]) -> str:
    """A row's verdict, and the others that its parts have."""
    others = dict.fromkeys(part["verdict"] for part in row["parts"])
    rest = [verdict for verdict in others if verdict != row["verdict"]]
    return "; ".join([row["verdict"], *rest])


def comparison(part: Mapping[str, Any]) -> str:
    """What a part holds against what, in a line."""
    stated = f"{RELATIONS[part['relation']]}{shown(part['recomputed'], part['unit'])}"
    if part["against"] == "unit":
        return f"needs {part['stated']}, has {part['recomputed']}"
    if part["against"] == "premise":
        known = "" if part["recomputed"] is None else f"; known: {stated}"
        return f"{shown(part['stated'], part['unit'])}, taken as given{known}"
    return f"{shown(part['stated'], part['unit'])}; {_AGAINST[part['against']]}: {stated}"


_AGAINST = {
    "formula": "by its own formula",
    "itself": "by its other statements",
    "source": "by the sources",
}


def texts(row: Mapping[str, Any]) -> dict[str, Any]:
    """All figures of a row as people read them, for pages."""
    first = row["simulated"]
    studies = [] if first is None else [first, *first["also"]]
    return {
        "stated": shown(row["stated"], row["unit"]),
        "recomputed": shown(row["recomputed"], row["unit"]),
        "simulated": spread(first),
        "parts": [part | {"text": comparison(part)} for part in row["parts"]],
        "corrected": _with_text(row["corrected"]),
        "inputs": _with_text(row["inputs"]),
        "studies": [entry | {"text": spread(entry)} for entry in studies],
    }


def _with_text(items: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{**item, "text": shown(item["value"], item["unit"])} for item in items]


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text
