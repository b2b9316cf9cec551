"""The closed-form planner: its identities, and the case study's own figures through it."""

from dataclasses import fields, replace

import pytest

from kaiju_sim.economics.plan.planner import DECODE, KV, PREFILL, PlanInputs, plan

INPUTS = PlanInputs(
    messages_per_s=904,
    prompt_tokens=2000,
    output_tokens=512,
    hit_rate=0.6,
    prefill_tokens_per_s=40_000,
    decode_tokens_per_s=20_000,
    usd_per_gpu_hour=2.0,
)


def test_parts_add_up_to_the_fleet_and_the_bill() -> None:
    found = plan(INPUTS)
    assert found.effective_messages_per_s == pytest.approx(904 * 0.4)
    assert found.prefill_gpus == pytest.approx(904 * 0.4 * 2000 / 40_000)
    assert found.decode_gpus == pytest.approx(904 * 512 / 20_000)
    parts = found.prefill_gpus + found.decode_gpus
    assert parts <= found.gpus < parts + 1
    assert found.usd_per_hour == found.gpus * 2.0
    assert found.usd_per_month == found.usd_per_hour * 730
    assert found.usd_per_message * 904 * 3600 == pytest.approx(found.usd_per_hour)


def test_the_case_studys_sums_come_out() -> None:
    """51,200 + 5,120 GPUs from 20,000 sessions/s of 512 tokens are its own (a thousand times too
    many tokens a second, as the audit says); 3,000 GPUs at 2 USD are 4.38 million a month."""
    theirs = replace(
        INPUTS,
        messages_per_s=50_000,
        prompt_tokens=512_000,
        prefill_tokens_per_s=200_000,
        decode_tokens_per_s=5_000,
    )
    found = plan(theirs)
    assert found.effective_messages_per_s == pytest.approx(20_000)
    assert found.prefill_gpus == pytest.approx(51_200)
    assert found.decode_gpus == pytest.approx(5_120)
    assert found.gpus == 56_320
    fleet = plan(replace(INPUTS, decode_tokens_per_s=904 * 512 / 3000, hit_rate=1.0))
    assert fleet.gpus == 3000
    assert fleet.usd_per_month == pytest.approx(4.38e6)


def test_a_looser_objective_makes_decode_cheaper_in_proportion() -> None:
    loose = plan(replace(INPUTS, ttft_s=2.5, reference_ttft_s=0.8))
    assert loose.batch_factor == pytest.approx(3.125)
    assert loose.decode_gpus == pytest.approx(plan(INPUTS).decode_gpus / 3.125)
    assert loose.prefill_gpus == plan(INPUTS).prefill_gpus


def test_the_bottleneck_is_what_asks_for_most() -> None:
    assert plan(INPUTS).bottleneck == DECODE
    assert plan(replace(INPUTS, hit_rate=0.0)).bottleneck == PREFILL
    full = replace(INPUTS, live_sessions=1e5, kv_bytes_per_session=64e6, kv_bytes_per_gpu=60e9)
    assert plan(full).bottleneck == KV
    assert plan(full).gpus == 107


@pytest.mark.parametrize("name", [f.name for f in fields(PlanInputs)])
def test_every_input_moves_the_plan(name: str) -> None:
    base = replace(
        INPUTS, live_sessions=1e4, kv_bytes_per_session=64e6, kv_bytes_per_gpu=60e9, utilisation=0.8
    )
    moved = replace(base, **{name: getattr(base, name) * 0.9})
    assert plan(moved) != plan(base)


@pytest.mark.parametrize(("name", "value"), [("hit_rate", 1.5), ("messages_per_s", 0.0)])
def test_nonsense_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        plan(replace(INPUTS, **{name: value}))
