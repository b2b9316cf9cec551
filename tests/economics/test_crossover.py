"""Own model or open model: the figures are the samples', costs are equal at the crossing."""

import json
from pathlib import Path

import pytest
from economics_runs import scenario, values

from calibrate.report.attention import attention_figures
from kaiju_sim.catalog.gpus import find_gpu
from kaiju_sim.catalog.models import find_model
from kaiju_sim.economics.plan.crossover import (
    Base,
    crossings,
    measured_designs,
    measured_on,
    monthly_usd,
    ways,
)

DATA = Path(__file__).parents[2] / "kaiju_sim" / "economics" / "measured" / "attention.json"
GPU, MODEL = measured_on()
BASE = Base(6.0 * find_model(MODEL).params, find_gpu(GPU).bf16_ops_per_s, 2.35)
HERE = scenario()


def test_the_package_data_are_the_samples() -> None:
    assert json.loads(DATA.read_text("utf-8")) == attention_figures(), (
        "run: python -m calibrate.report.attention > kaiju_sim/economics/measured/attention.json"
    )


def test_more_heads_and_more_bits_cost_more() -> None:
    found = {way.name: way.usd_per_message for way in ways(BASE, values(HERE))}
    costs = list(found.values())
    own, bf16_gqa, gqa, bf16_mha, mha, uptrained = costs
    assert own == uptrained < gqa < bf16_gqa < bf16_mha
    assert gqa < mha


def test_both_ways_cost_the_same_at_the_crossing() -> None:
    now = values(HERE)
    found = ways(BASE, now)
    for way, crossing in zip(found[1:], crossings(found, now), strict=True):
        assert crossing.way == way.name
        if crossing.daily_users is None:
            assert way.usd_per_message == found[0].usd_per_message
            continue
        users = crossing.daily_users
        own = monthly_usd(found[0], users, now)
        assert own == pytest.approx(monthly_usd(way, users, now))
        more, less = users * 1.1, users * 0.9
        assert monthly_usd(found[0], more, now) < monthly_usd(way, more, now)
        assert monthly_usd(found[0], less, now) > monthly_usd(way, less, now)


def test_uptraining_an_open_model_is_never_overtaken() -> None:
    """It serves as cheaply and costs a twentieth of a pretraining."""
    assert crossings(ways(BASE, values(HERE)), values(HERE))[-1].daily_users is None


def test_dearer_training_moves_the_crossing_out() -> None:
    first, later = (
        crossings(ways(BASE, now), now)[0].daily_users
        for now in (values(HERE), values(HERE, training__tokens=4e12))
    )
    assert first is not None
    assert later is not None
    assert later == pytest.approx(2 * first, rel=0.01)


def test_a_message_takes_the_measured_steps() -> None:
    design = measured_designs()["as designed"]
    seconds = design.gpu_seconds(280, 140)
    assert seconds == pytest.approx(
        280 * design.prefill_step_s / 2048 + 140 * design.decode_step_s / 256
    )
