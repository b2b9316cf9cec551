"""The rows of the audit: each claim recomputed from its inputs and judged."""

from collections.abc import Mapping, Sequence
from typing import Any

from kaiju_sim.audit import verdict
from kaiju_sim.audit.claim import (
    GRANTED,
    Claim,
    Corrected,
    Input,
    Part,
    all_claims,
    all_inputs,
    all_sources,
    values_of,
    with_parts,
)
from kaiju_sim.audit.formula import Value, parsed
from kaiju_sim.audit.verdict import Verdict

Row = dict[str, Any]
"""A row of `kaiju-sim audit --format json`."""


def audit_rows(
    claims: Sequence[Claim] | None = None,
    inputs: Mapping[str, Input] | None = None,
    simulated: Mapping[str, Row] | None = None,
) -> list[Row]:
    """A row per claim.

    Without arguments: all shipped claims with the shipped inputs, nothing simulated. `simulated`
    has what `simulated.py` found, by claim id.
    """
    claims = all_claims() if claims is None else claims
    inputs = all_inputs() if inputs is None else inputs
    return [row_of(claim, inputs, (simulated or {}).get(claim.id)) for claim in claims]


def row_of(claim: Claim, inputs: Mapping[str, Input], simulated: Row | None = None) -> Row:
    """One claim: the lead part's figures on top, then every part, correction and input."""
    used = {name: inputs[name] for name in with_parts(claim.names, inputs)}
    values = values_of(tuple(used), inputs)
    parts = [part_row(part, used, values) for part in claim.parts]
    lead = parts[0]
    deciding = [Verdict(part["verdict"]) for part in parts if not part["remark"]]
    return {
        "id": claim.id,
        "claim": claim.claim,
        **{key: lead[key] for key in ("formula", "stated", "recomputed", "unit")},
        "verdict": verdict.overall(deciding).value,
        "simulated": simulated,
        "source": source_of(claim, used),
        "parts": parts,
        "corrected": [corrected_row(c, values) for c in claim.corrected],
        "inputs": [input_row(name, used[name], values[name]) for name in used],
    }


def part_row(part: Part, inputs: Mapping[str, Input], values: Mapping[str, Value]) -> Row:
    """One judgement. Of a unit, what is recomputed is the one that the input has."""
    stated, found = _sides(part, inputs, values)
    return {
        "says": part.says,
        "against": part.against,
        "stated": stated,
        "relation": part.relation,
        "formula": part.formula if part.formula is not None else str(part.stated),
        "recomputed": found,
        "unit": part.unit,
        "within": part.within,
        "remark": part.remark,
        "verdict": judged(part, inputs, stated, found).value,
    }


def _sides(
    part: Part, inputs: Mapping[str, Input], values: Mapping[str, Value]
) -> tuple[Value, Value | None]:
    """What is stated, and what it comes to."""
    if part.against == "unit":
        return part.unit, inputs[str(part.stated)].unit
    stated = parsed(str(part.stated)).value(values)
    return stated, None if part.formula is None else parsed(part.formula).value(values)


def judged(part: Part, inputs: Mapping[str, Input], stated: Value, found: Value | None) -> Verdict:
    """The part's verdict, by the rules of `verdict.py`."""
    if part.against == "premise":
        return verdict.of_premise(inputs[str(part.stated)].grade)
    assert found is not None
    if part.against == "unit":
        return verdict.of_unit(str(found), str(stated))
    how = (stated, found, part.relation, part.within)
    if part.against == "source":
        return verdict.of_source(*how, _grades(part, inputs))
    return verdict.of_formula(*how) if part.against == "formula" else verdict.of_itself(*how)


def _grades(part: Part, inputs: Mapping[str, Input]) -> list[verdict.Grade]:
    """Grades of what the part is held against; what the text itself states is granted."""
    assert part.formula is not None
    known = [inputs[name] for name in parsed(part.formula).names]
    return [entry.grade for entry in known if entry.source != GRANTED]


def corrected_row(item: Corrected, values: Mapping[str, Value]) -> Row:
    """A corrected figure, computed."""
    value = parsed(item.formula).value(values)
    return {"says": item.says, "formula": item.formula, "value": value, "unit": item.unit}


def input_row(name: str, known: Input, value: Value) -> Row:
    """An input with where it comes from."""
    source = all_sources()[known.source]
    return {
        "name": name,
        "value": value,
        "computed": known.computed,
        "unit": known.unit,
        "source": f"{source}: {known.note}" if known.note else source,
        "grade": known.grade,
    }


def source_of(claim: Claim, used: Mapping[str, Input]) -> str:
    """Where the claim stands, and every source that it is held against, each once."""
    own = "case study" if claim.id.isdigit() else ""
    others = [all_sources()[known.source] for known in used.values() if known.source != GRANTED]
    return "; ".join(dict.fromkeys([own, *others] if own else others))
