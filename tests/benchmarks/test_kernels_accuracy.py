"""The patterns of the accuracy report, and the scheme that breaks on an attention sink."""

import pytest

torch = pytest.importorskip("torch")

from benchmarks.kernels.accuracy import patterns, schemes  # noqa: E402

QUERIES, HEADS = 4, 16


def errors_of(pattern: str, context: int) -> dict[str, float]:
    real = patterns.PATTERNS[pattern](context, QUERIES, HEADS, "cpu")
    limits = schemes.limits_of("decode_attention", context, QUERIES, "cpu")
    want, stored = schemes.exact(real, limits), schemes.quantised(real)
    made = {
        "naive": schemes.naive(stored, limits),
        "int8 values": schemes.int8_values(stored, limits),
    }
    return {name: schemes.error_of(out, want)[0] for name, out in made.items()}


def test_a_sink_breaks_the_naive_scheme_and_int8_values_do_not_care() -> None:
    errors = errors_of("sink +8", 16384)
    assert errors["naive"] == pytest.approx(0.78, abs=0.08)
    assert errors["int8 values"] < 0.006
    assert errors_of("logits N(0, 1)", 16384)["naive"] < 0.003


@pytest.mark.parametrize("pattern", patterns.PATTERNS)
def test_logits_are_as_the_pattern_says(pattern: str) -> None:
    real = patterns.PATTERNS[pattern](1024, QUERIES, HEADS, "cpu")
    limits = schemes.limits_of("decode_attention", 1024, QUERIES, "cpu")
    logits = schemes.scores(real.q, real.k, limits)
    spread = 2.0 if "N(0, 2)" in pattern else 1.0
    assert float(logits[..., 1:].std()) == pytest.approx(spread, rel=0.1)
    if "sink" in pattern:
        nats = float(pattern.rpartition("+")[2])
        assert torch.allclose(logits[..., 0], torch.tensor(nats, dtype=torch.float64))


def test_a_prompts_queries_see_what_is_before_them() -> None:
    limits = schemes.limits_of("prefill_attention", 300, 4, "cpu")
    assert limits.tolist() == [297, 298, 299, 300]
    real = patterns.PATTERNS["logits N(0, 1)"](300, 4, HEADS, "cpu")
    last = schemes.exact(real._replace(q=real.q[:1]), limits[:1])
    short = patterns.Real(real.q[:1], real.k[:297], real.v[:297])
    assert torch.allclose(last, schemes.exact(short, limits[:1]))


def test_naive_is_exact_where_int8_is_enough() -> None:
    """One key: its probability is 127 of 127."""
    real = patterns.PATTERNS["logits N(0, 1)"](1, 1, HEADS, "cpu")
    limits = torch.ones(1, dtype=torch.int32)
    stored = schemes.quantised(real)
    want = (stored.v * stored.v_scale).double().expand(1, HEADS, -1)
    assert torch.allclose(schemes.naive(stored, limits), want)


def test_pages_hold_what_was_stored() -> None:
    real = patterns.PATTERNS["logits N(0, 1)"](200, 1, HEADS, "cpu")
    stored = schemes.quantised(real)
    kv, table = schemes.paged(stored)
    from kernels.common.layout import gather_context

    k, v = gather_context(kv, table)
    assert torch.equal(k[0, :200], stored.k)
    assert torch.equal(v[0, :200], stored.v)
