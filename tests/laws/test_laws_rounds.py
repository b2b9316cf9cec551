"""With a profile's rounds and latency of a sequence, too, both loops are the same to the bit."""

from pathlib import Path

import pytest
from fleet_runs import same
from random_scenarios import fleet

from kaiju_sim.catalog.gpus import find_gpu
from kaiju_sim.catalog.models import find_model
from kaiju_sim.scenario.schema import Scenario, StepTime
from kaiju_sim.simulation import simulate
from kaiju_sim.steptime.convert import profile_from_roofline
from kaiju_sim.steptime.profile import Points, profile_json
from kaiju_sim.steptime.roofline import Rank, usual_efficiency

ROUND_TOKENS = 24
"""As small as the steps of these fleets."""


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile with rounds, its times a hundred times the usual so that rounds count; and with a
    latency of one sequence's attention, by its window."""
    gpu = find_gpu("H100-80GB")
    slow = gpu.model_copy(update={"int8_ops_per_s": 2e13, "bf16_ops_per_s": 1e13})
    rank = Rank(slow, find_model("kaiju-13b"), 1, usual_efficiency(0.66, 0.8))
    made = profile_from_roofline(rank, 0.001, 2304, 256, 8704)
    file = tmp_path_factory.mktemp("rounds") / "profile.json"
    each = Points(x=(16, 64, 1024), seconds=(0.001, 0.002, 0.03))
    curves = made.curves.model_copy(update={"decode_each": each})
    rounds = made.model_copy(update={"prefill_round_tokens": ROUND_TOKENS, "curves": curves})
    file.write_text(profile_json(rounds))
    return file


def in_rounds(number: int, profile: Path) -> Scenario | None:
    """Random workload `number` with that profile; None where it is not about such a replica."""
    scenario = fleet(number)
    if scenario.steptime.kind != "roofline" or scenario.fleet.groups:
        return None
    if (scenario.model, scenario.gpu, scenario.fleet.tensor_parallel) != (
        "kaiju-13b",
        "H100-80GB",
        1,
    ):
        return None
    return scenario.model_copy(update={"steptime": StepTime(kind="profile", profile=str(profile))})


def test_compiled_equals_reference_in_rounds(trace_folder: Path, profile: Path) -> None:
    compared = slower = 0
    policies = set()
    for number in range(2000, 2200):
        scenario = in_rounds(number, profile)
        if scenario is None:
            continue
        compiled = simulate(scenario, base_dir=trace_folder)
        same(compiled, simulate(scenario, base_dir=trace_folder, engine="reference"))
        plain = simulate(fleet(number), base_dir=trace_folder)
        slower += compiled.summary["ttft_s.mean"] != plain.summary["ttft_s.mean"]
        policies.add(scenario.engine.policy)
        compared += 1
        if compared == 25:
            break
    assert compared == 25
    assert slower > 20
    assert policies == {"decode_first", "prefill_first", "ttft_aware"}
