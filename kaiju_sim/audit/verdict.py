"""From what is stated and what is recomputed to a verdict: the only place where one is made.

A part of a claim is held against one of five things:

    formula  the claim's own formula and inputs. Equal: holds. Off by a factor that turns one unit
             into another (a power of 1,000 or 1,024, 12 months, 24 hours, 60, 3,600, 8 bits):
             wrong unit. Otherwise: wrong arithmetic.
    itself   what follows from other statements of the same text. Equal: holds, else it
             contradicts itself.
    source   what sources say. All of them primary (grade P) and equal: holds; primary and not
             equal: contradicts a primary source. With any source of a lower grade: unsupported,
             since such a source neither proves nor refutes. Inputs that the text itself states are
             granted to it here.
    unit     whether an input has the unit that the formula needs of it. If not: wrong unit.
    premise  whether an input has a source at all. Grade U: unsupported.

A claim's verdict is that of its first part that is refuted (wrong, or contradicted); if none is,
that of its first part. So a formula that holds on an unsupported premise holds, and both are shown.
Remarks (`remark: true`) are judged and shown but do not decide.
"""

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import Literal

from kaiju_sim.audit.formula import Value


class Verdict(StrEnum):
    """What comes of a claim, or of a part of it."""

    HOLDS = "holds"
    ARITHMETIC = "wrong arithmetic"
    UNIT = "wrong unit"
    ITSELF = "contradicts itself"
    PRIMARY = "contradicts a primary source"
    UNSUPPORTED = "unsupported"


Against = Literal["formula", "itself", "source", "unit", "premise"]
Relation = Literal["is", "at_most", "at_least"]
Grade = Literal["P", "S", "R", "I", "U"]
"""P primary, S secondary, R recalled, I inferred, U unsupported."""

UNIT_FACTORS = (8.0, 12.0, 24.0, 60.0, 3600.0, 1000.0, 1e6, 1e9, 1024.0, 1024.0**2, 1024.0**3)
"""What one unit is of another: bits, months, hours, minutes, thousands, powers of two."""


def agrees(stated: Value, found: Value, relation: Relation, within: float) -> bool:
    """Whether *stated* has the relation to *found*, numbers to a relative tolerance."""
    if isinstance(stated, str) or isinstance(found, str):
        return stated == found
    if math.isclose(stated, found, rel_tol=within):
        return True
    return {"is": False, "at_most": stated < found, "at_least": stated > found}[relation]


def off_by_a_unit(stated: Value, found: Value, within: float) -> bool:
    """Whether the two differ by a factor that turns one unit into another."""
    if isinstance(stated, str) or isinstance(found, str) or min(stated, found) <= 0:
        return False
    factor = max(stated, found) / min(stated, found)
    return any(math.isclose(factor, known, rel_tol=within) for known in UNIT_FACTORS)


def of_formula(stated: Value, found: Value, relation: Relation, within: float) -> Verdict:
    """A claim against its own formula."""
    if agrees(stated, found, relation, within):
        return Verdict.HOLDS
    return Verdict.UNIT if off_by_a_unit(stated, found, within) else Verdict.ARITHMETIC


def of_itself(stated: Value, found: Value, relation: Relation, within: float) -> Verdict:
    """A statement against others of the same text."""
    return Verdict.HOLDS if agrees(stated, found, relation, within) else Verdict.ITSELF


def of_source(
    stated: Value, found: Value, relation: Relation, within: float, grades: Sequence[Grade]
) -> Verdict:
    """A statement against sources with these grades."""
    if not grades or any(grade != "P" for grade in grades):
        return Verdict.UNSUPPORTED
    return Verdict.HOLDS if agrees(stated, found, relation, within) else Verdict.PRIMARY


def of_unit(unit: str, needed: str) -> Verdict:
    """An input's unit against the one that a formula needs of it."""
    return Verdict.HOLDS if unit == needed else Verdict.UNIT


def of_premise(grade: Grade) -> Verdict:
    """An input against the question where it comes from."""
    return Verdict.UNSUPPORTED if grade == "U" else Verdict.HOLDS


def overall(parts: Sequence[Verdict]) -> Verdict:
    """Of a claim, from the verdicts of its parts."""
    refuted = (part for part in parts if part not in (Verdict.HOLDS, Verdict.UNSUPPORTED))
    return next(refuted, parts[0])
