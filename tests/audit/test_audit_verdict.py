"""The rule that makes verdicts, and the formulas that it is fed with."""

import pytest

from kaiju_sim.audit import functions, verdict
from kaiju_sim.audit.formula import parsed
from kaiju_sim.audit.verdict import Verdict
from kaiju_sim.catalog.models import find_model
from kaiju_sim.steptime.build import build_step_time


@pytest.mark.parametrize(
    ("stated", "found", "expected"),
    [
        (231_000.0, 231_481.0, Verdict.HOLDS),
        (10.24e9, 10.24e6, Verdict.UNIT),
        (1.0, 3600.0, Verdict.UNIT),
        (2.0**20, 1.0, Verdict.UNIT),
        (3000.0, 600.0, Verdict.ARITHMETIC),
        (-1000.0, 1.0, Verdict.ARITHMETIC),
        ("a", "a", Verdict.HOLDS),
        ("a", "b", Verdict.ARITHMETIC),
    ],
)
def test_a_claim_against_its_own_formula(
    stated: float | str, found: float | str, expected: Verdict
) -> None:
    assert verdict.of_formula(stated, found, "is", 0.01) is expected


def test_relations_have_a_direction() -> None:
    for relation, holds in (("at_most", True), ("at_least", False), ("is", False)):
        found = verdict.of_itself(1.0, 2.0, relation, 0.01)  # type: ignore[arg-type]
        assert (found is Verdict.HOLDS) == holds


def test_only_primary_sources_prove_or_refute() -> None:
    assert verdict.of_source(1.0, 2.0, "is", 0.01, ["P", "P"]) is Verdict.PRIMARY
    assert verdict.of_source(2.0, 2.0, "is", 0.01, ["P"]) is Verdict.HOLDS
    assert verdict.of_source(2.0, 2.0, "is", 0.01, ["P", "I"]) is Verdict.UNSUPPORTED
    assert verdict.of_source(2.0, 2.0, "is", 0.01, []) is Verdict.UNSUPPORTED


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([Verdict.HOLDS, Verdict.HOLDS], Verdict.HOLDS),
        ([Verdict.HOLDS, Verdict.UNSUPPORTED], Verdict.HOLDS),
        ([Verdict.UNSUPPORTED, Verdict.HOLDS], Verdict.UNSUPPORTED),
        ([Verdict.HOLDS, Verdict.UNIT, Verdict.ITSELF], Verdict.UNIT),
        ([Verdict.UNSUPPORTED, Verdict.PRIMARY], Verdict.PRIMARY),
    ],
)
def test_a_claim_is_judged_by_its_parts(parts: list[Verdict], expected: Verdict) -> None:
    assert verdict.overall(parts) is expected


def test_a_formula_names_its_inputs_and_reckons() -> None:
    formula = parsed("ceil(a * b ** 2 / 3) - least(a, 1)")
    assert formula.names == ("a", "b")
    assert formula.value({"a": 2.0, "b": 4.0}) == 10.0


@pytest.mark.parametrize(
    "text",
    ["a.b", "a[0]", "open('x')", "lambda: 1", "a if b else c", "a and b", "1 +", "f'{a}'", "-a"],
)
def test_a_formula_is_arithmetic_and_nothing_else(text: str) -> None:
    with pytest.raises(ValueError, match="formula"):
        parsed(text)


def test_a_text_is_no_number() -> None:
    with pytest.raises(ValueError, match="reckons with numbers"):
        parsed("a + 1").value({"a": "many"})


def test_kv_bytes_are_the_products_that_textbooks_write() -> None:
    """2 x heads x context x head_dim x bytes, times layers."""
    assert functions.kv_bytes(4096, 1, 32, 32, 128, 2) == 2 * 32 * 4096 * 128 * 2
    assert functions.kv_bytes(4096, 60, 32, 1, 128, 1) == 2 * 60 * 4096 * 128
    assert functions.stored_kv("kaiju-13b", 8192) == find_model("kaiju-13b").kv_store_bytes(8192)
    assert functions.undone_kv("kaiju-13b", 8192, 8) == 2 * 48 * 8 * 8192 * 128


def test_rates_are_those_of_the_measured_steps() -> None:
    """An H100 prefills tens of thousands of tokens a second of 13B; attention costs some."""
    scenario = functions.plain_scenario("kaiju-13b", "H100-80GB")
    assert build_step_time(scenario).source == "measured"  # as the inputs' notes say
    prefill = functions.prefill_tokens_per_s("kaiju-13b", "H100-80GB", 2048)
    assert 20_000 < prefill < 1979e12 / 2 / 13e9
    near = functions.decode_tokens_per_s("kaiju-13b", "H100-80GB", 64, 1024)
    far = functions.decode_tokens_per_s("kaiju-13b", "H100-80GB", 64, 8192)
    assert 1_000 < far < near < 64 * 3.35e12 / 13e9
