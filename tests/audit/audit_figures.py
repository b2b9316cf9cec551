"""What the tests of the audit share: every figure of a row, and rows with something changed."""

from collections.abc import Iterator, Mapping
from typing import Any

from kaiju_sim.audit.claim import Claim, Input, all_claims, all_inputs
from kaiju_sim.audit.rows import row_of

CLAIMS = {claim.id: claim for claim in all_claims()}


def figures(row: Mapping[str, Any]) -> list[Any]:
    """What the row states, recomputes and corrects: all but its inputs."""
    found = [(part["stated"], part["recomputed"], part["verdict"]) for part in row["parts"]]
    return [*found, *(item["value"] for item in row["corrected"])]


def with_input(claim: Claim, name: str, **fields: Any) -> dict[str, Any]:
    """The claim's row with an input changed."""
    changed = all_inputs()[name].model_copy(update=fields)
    return row_of(claim, {**all_inputs(), name: changed})


def with_part(claim: Claim, number: int, **fields: Any) -> Claim:
    """The claim with a part changed."""
    parts = list(claim.parts)
    parts[number] = parts[number].model_copy(update=fields)
    return claim.model_copy(update={"parts": tuple(parts)})


def changed_values(known: Input, value: float | str) -> Iterator[dict[str, Any]]:
    """Other values of an input: twice, and half of it; another text."""
    if isinstance(value, str):
        yield {"value": f"not {value}", "computed": None}
        return
    for factor in (2.0, 0.5):
        yield {"value": value * factor, "computed": None}


def numbers(thing: Any) -> Iterator[float]:
    """Every number in a row, its inputs too."""
    if isinstance(thing, Mapping):
        thing = list(thing.values())
    if isinstance(thing, list):
        for part in thing:
            yield from numbers(part)
    elif isinstance(thing, int | float):
        yield float(thing)
