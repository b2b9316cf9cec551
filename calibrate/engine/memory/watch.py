"""Records that tell when policy writes them.

The engine runs policy as plain Python on rows (`kaiju_sim.fleet.rows`). A watched array is the same
rows with a callback behind chosen fields, so what policy does to its records can be followed
without a line of it being changed, copied or wrapped.
"""

from collections.abc import Callable, Mapping
from typing import Any

from kaiju_sim.engine.layout import Arr
from kaiju_sim.fleet.rows import Rows

Told = Callable[[int], None]
"""Called after a write, with the number of the record."""


def watched(array: Arr, fields: Mapping[str, Told]) -> Rows:
    """The array as rows; a write to one of the fields calls its callback afterwards."""
    rows = Rows(array)
    telling = {name: _telling(getattr(rows.kind, name), told) for name, told in fields.items()}
    rows.kind = type("WatchedRow", (rows.kind,), {"__slots__": (), **telling})
    return rows


def _telling(plain: property, told: Told) -> property:
    get, put = plain.fget, plain.fset
    assert get is not None
    assert put is not None

    def put_and_tell(row: Any, value: Any) -> None:
        put(row, value)
        told(row._place)

    return property(get, put_and_tell)
