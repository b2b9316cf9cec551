"""Several candidates per message: bursts, memory, work, and the two loops' agreement."""

from typing import Any

import pytest
from fleet_runs import cells_of, columns, constant, same, scenario_of
from test_scheduler_fleets import tight

from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import simulate
from kaiju_sim.steptime.memory import candidate_blocks

STEP_S = 0.01


def alone(out: int, **engine: Any) -> Scenario:
    """Rare messages of one prompt token, a step of 10 ms, an answer of `out` tokens."""
    return scenario_of(
        {
            "run": {"horizon": 200.0},
            "traffic": {
                "messages_per_s": 0.05,
                "output_tokens": constant(out),
                "sessions": {"user_tokens": constant(1)},
            },
            "characters": {"count": 1, "definition_tokens": constant(0)},
            "engine": engine,
            "steptime": {"kind": "constant", "step": STEP_S},
        }
    )


@pytest.mark.parametrize(
    ("out", "bursts"), [(1, [1]), (15, [15]), (16, [16]), (17, [16, 17]), (40, [16, 32, 40])]
)
def test_an_answer_comes_in_chunks(out: int, bursts: list[int]) -> None:
    """Each burst comes with the step that completes it; tokens inside have no gap."""
    scenario = alone(out, candidates=4)
    c = columns(simulate(scenario).requests)
    assert c["ttft_s"] == pytest.approx(bursts[0] * STEP_S)
    assert c["e2e_s"] == pytest.approx(out * STEP_S)
    if out > 1:
        assert c["tpot_s"] == pytest.approx((out - bursts[0]) * STEP_S / (out - 1))
    cell = cells_of(scenario)[0]
    messages = c["e2e_s"].size
    assert messages > 3
    assert cell.tally["itl_count"] == messages * (out - 1)
    long_gaps = cell.sketch[4, 1:].sum()
    assert long_gaps == messages * (len(bursts) - 1)


def test_generated_tokens_are_those_of_all_candidates() -> None:
    for candidates in (1, 3):
        cell = cells_of(alone(40, candidates=candidates))[0]
        replicas = cell.states["replicas"]
        assert replicas["generated"].sum() == candidates * replicas["tokens"].sum() > 0


@pytest.mark.parametrize(
    ("candidates", "chunk", "block", "blocks"),
    [(1, 16, 64, 0), (2, 16, 64, 2), (4, 16, 16, 6), (3, 16, 1, 32), (2, 2, 2, 2), (2, 5, 4, 2)],
)
def test_blocks_that_other_candidates_hold(
    candidates: int, chunk: int, block: int, blocks: int
) -> None:
    """The most blocks that a chunk of this length can touch, for each but the first."""
    scenario = scenario_of(
        {
            "engine": {"candidates": candidates, "chunk_tokens": chunk},
            "kv": {"block_tokens": block},
        }
    )
    touched = max((start + chunk - 1) // block - start // block + 1 for start in range(block))
    assert candidate_blocks(scenario) == (candidates - 1) * touched == blocks


def test_candidates_take_seats_and_time() -> None:
    """Four candidates decode as four sequences: a fourth of the messages fit, steps are longer."""
    base = {
        "run": {"horizon": 20.0},
        "traffic": {
            "messages_per_s": 40.0,
            "output_tokens": constant(64),
            "sessions": {"user_tokens": constant(2000)},
        },
        "engine": {"max_seqs": 32},
    }
    one, four = (simulate(scenario_of(base, {"engine": {"candidates": n}})) for n in (1, 4))
    assert columns(one.replicas)["running"].max() > 8
    assert columns(four.replicas)["running"].max() == 8
    assert four.summary["throughput.output_tokens_per_s"] < (
        0.75 * one.summary["throughput.output_tokens_per_s"]
    )
    for result, n in ((one, 1), (four, 4)):
        s = result.summary
        ratio = s["throughput.generated_tokens_per_s"] / s["throughput.output_tokens_per_s"]
        assert ratio == pytest.approx(n, rel=0.1)


@pytest.mark.parametrize("queue", ["replica", "central"])
@pytest.mark.parametrize("policy", ["decode_first", "prefill_first", "ttft_aware"])
def test_compiled_equals_reference_with_candidates(policy: str, queue: str) -> None:
    """Under memory pressure, with preemptions in the middle of chunks; no block is lost."""
    for candidates, chunk in ((2, 16), (3, 5)):
        tree = tight(policy=policy, queue=queue, candidates=candidates, chunk_tokens=chunk)
        wide = tree.model_dump()
        wide["slo"]["tpot"] = 0.0068
        scenario = Scenario.model_validate(wide)
        result = simulate(scenario)
        assert result.summary["realised.preemptions"] > 5
        same(result, simulate(scenario, engine="reference"))
        caches = cells_of(scenario)[0].states["caches"]
        assert (caches["free"] + caches["idle"] == scenario.kv.global_blocks).all()
