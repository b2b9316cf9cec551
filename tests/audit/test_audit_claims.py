"""The audit's claims: complete, and every figure and verdict follows from the inputs."""

import pytest
from audit_figures import CLAIMS, changed_values, figures, with_input, with_part
from pydantic import ValidationError

from kaiju_sim.audit.claim import (
    Input,
    Part,
    all_claims,
    all_inputs,
    all_sources,
    values_of,
    with_parts,
)
from kaiju_sim.audit.rows import audit_rows, row_of

PARTS = [
    (claim.id, number, part) for claim in all_claims() for number, part in enumerate(claim.parts)
]
BY_FIGURES = [
    pytest.param(claim_id, number, id=f"{claim_id}-{number}")
    for claim_id, number, part in PARTS
    if part.against in ("formula", "itself", "source")
]
BY_OTHERS = [
    pytest.param(claim_id, number, id=f"{claim_id}-{number}")
    for claim_id, number, part in PARTS
    if part.against in ("premise", "unit", "source")
]
USED = [
    pytest.param(claim.id, name, id=f"{claim.id}-{name}")
    for claim in all_claims()
    for name in with_parts(claim.names, all_inputs())
]
CANCELS = {
    "12": {"context", "one_layer", "head_dim"},
    "28": {"context", "one_layer", "heads", "one_kv_head", "head_dim"},
}
"""Inputs that stand above and below the line of a ratio."""
JSON_KEYS = {"id", "claim", "formula", "stated", "recomputed", "verdict", "simulated", "source"}


def test_all_numbered_claims_and_the_published_ones_are_there_once() -> None:
    ids = [claim.id for claim in all_claims()]
    assert ids == [*(str(i) for i in range(1, 53)), *(f"P{i}" for i in range(1, 9))]


def test_every_input_and_source_is_used() -> None:
    used = {name for claim in all_claims() for name in with_parts(claim.names, all_inputs())}
    assert used == set(all_inputs())
    assert {known.source for known in all_inputs().values()} == set(all_sources())


def test_rows_have_the_documented_keys_and_nothing_simulated() -> None:
    for row in audit_rows():
        assert set(row) >= JSON_KEYS
        assert row["simulated"] is None
        assert row["source"]
        assert row["inputs"]


@pytest.mark.parametrize(("claim_id", "name"), USED)
def test_figures_move_with_each_input(claim_id: str, name: str) -> None:
    """Nothing is typed in: each input that a claim names moves a figure or a verdict of it."""
    claim, known = CLAIMS[claim_id], all_inputs()[name]
    before = figures(row_of(claim, all_inputs()))
    value = values_of([name], all_inputs())[name]
    moved = []
    for fields in changed_values(known, value):
        try:
            moved.append(figures(with_input(claim, name, **fields)) != before)
        except (ValidationError, ZeroDivisionError):  # the model has no such dimension
            continue
    by_unit = figures(with_input(claim, name, unit="furlongs")) != before
    assert (any(moved) or by_unit) == (name not in CANCELS.get(claim_id, ()))


@pytest.mark.parametrize(("claim_id", "number"), BY_FIGURES)
def test_verdicts_follow_from_stated_and_recomputed(claim_id: str, number: int) -> None:
    """What is stated decides: equal to the recomputed figure it holds, far from it not."""
    claim = CLAIMS[claim_id]
    part = row_of(claim, all_inputs())["parts"][number]
    found = part["recomputed"]
    if isinstance(found, str):
        equal_to, far = f"'{found}'", f"'not {found}'"
    else:
        equal_to, far = found, found * (0.3 if part["relation"] == "at_least" else 1.7)
    verdicts = [
        row_of(with_part(claim, number, stated=stated), all_inputs())["parts"][number]["verdict"]
        for stated in (equal_to, far)
    ]
    if part["verdict"] == "unsupported":
        assert verdicts == ["unsupported", "unsupported"]
    else:
        assert verdicts[0] == "holds"
        assert verdicts[1] not in ("holds", "unsupported")


@pytest.mark.parametrize(("claim_id", "number"), BY_OTHERS)
def test_grades_and_units_decide_the_others(claim_id: str, number: int) -> None:
    claim = CLAIMS[claim_id]
    part = claim.parts[number]
    if part.against == "premise":
        row = with_input(claim, str(part.stated), grade="P")
        assert row["parts"][number]["verdict"] == "holds"
    elif part.against == "unit":
        row = with_input(claim, str(part.stated), unit=part.unit)
        assert row["parts"][number]["verdict"] == "holds"
    else:
        _refuses_lower_grades(claim_id, number)


def _refuses_lower_grades(claim_id: str, number: int) -> None:
    """With a source that is only recalled, a comparison supports nothing."""
    claim = CLAIMS[claim_id]
    held = [name for name in claim.parts[number].names if name in all_inputs()]
    others = [name for name in held if all_inputs()[name].source != "case-study"]
    for name in others:
        if name in str(claim.parts[number].formula):
            row = with_input(claim, name, grade="R")
            assert row["parts"][number]["verdict"] == "unsupported"


def test_a_text_is_compared_as_a_text() -> None:
    row = with_input(CLAIMS["31"], "claimed_int8", value="trained natively in int8")
    assert row["verdict"] == "holds"


def test_an_input_moves_whatever_is_computed_from_it() -> None:
    before = row_of(CLAIMS["24"], all_inputs())
    after = with_input(CLAIMS["24"], "case_params", value=24e9)
    assert before["recomputed"] == 2517
    assert after["recomputed"] == pytest.approx(2 * 2517, rel=0.02)


@pytest.mark.parametrize(
    "fields",
    [
        {"against": "premise", "stated": "1 + 1"},
        {"against": "formula", "stated": 1.0},
        {"against": "unit", "stated": "a", "formula": "a"},
        {"against": "elsewhere", "stated": 1.0, "formula": "1"},
        {"stated": 1.0, "formula": "1", "within": 1.5},
        {"stated": 1.0, "formula": "1", "typo": 1},
    ],
)
def test_parts_that_say_nothing_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Part(says="x", **fields)  # type: ignore[arg-type]


def test_an_input_has_a_value_or_a_formula() -> None:
    with pytest.raises(ValidationError, match="either value or computed"):
        Input(source="ours", grade="P")
    with pytest.raises(ValidationError, match="either value or computed"):
        Input(source="ours", grade="P", value=1.0, computed="1")
