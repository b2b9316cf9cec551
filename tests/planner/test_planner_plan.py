"""Plans of tiny fleets whose answer is known, the document, the command and its exit codes."""

import json
from pathlib import Path
from typing import Any

import pytest
from planner_fleets import written
from test_planner_fewest import fewest_servers

from kaiju_sim.cli import main
from kaiju_sim.errors import UserError
from kaiju_sim.planner.plans.check import check
from kaiju_sim.planner.plans.choices import choices_of
from kaiju_sim.planner.plans.document import document
from kaiju_sim.planner.plans.peak import at_peak, busiest_s
from kaiju_sim.planner.plans.plan import Asked, lost_replicas, make_plan
from kaiju_sim.report.planning.plan import lines_of
from kaiju_sim.scenario.loader import load_scenario

SHORT = ("plan.window=10s", "plan.warm_up=2s")
TRUTH = fewest_servers(0.055)


def asked(folder: Path, *sets: str) -> Asked:
    loaded = load_scenario(written(folder), sets=[*SHORT, *sets])
    (folder / "kept").mkdir(exist_ok=True)
    return Asked(loaded.scenario, loaded.base_dir, folder / "kept")


def planned(folder: Path, *sets: str) -> dict[str, Any]:
    return document(make_plan(asked(folder, *sets)))


def test_staffing_of_m_m_c_with_confidence(tmp_path: Path) -> None:
    """The smallest fleet that passes 95 % of the windows is the one of queueing theory."""
    found = planned(tmp_path)
    assert (found["gpus"], found["replicas"], found["tensor_parallel"]) == (TRUTH, TRUTH, 1)
    assert found["gpu_type"] == "H100-80GB"
    assert found["pass_probability_interval"][0] >= 0.95 - 1e-9
    assert found["pass_probability"] == found["passed"] / found["trials"]
    assert len(found["seeds"]) == found["trials"] == len(set(found["seeds"]))
    assert found["binds"] == "TTFT p99"
    other = found["next_cheaper"]
    assert other["gpus"] == TRUTH - 1
    assert other["pass_probability"] < 0.95
    assert "TTFT p99 missed in" in other["why_not"]
    assert found["grey_zone"] == {"gpus": [], "share": 0.0}
    assert found["error_band"] is None  # step times that are set have no error
    assert found["usd_per_hour"] == pytest.approx(2.35 * TRUTH)
    assert found["usd_per_message"] == pytest.approx(2.35 * TRUTH / 3600 / 400, rel=0.01)
    json.dumps(found, allow_nan=False)


def test_headroom_is_an_objective(tmp_path: Path) -> None:
    """A node of two GPUs may be gone: two replicas more, and what binds says so."""
    found = planned(tmp_path, "plan.survive_nodes=1", "plan.node_gpus=2")
    assert found["gpus"] == TRUTH + 2
    assert found["binds"] == "failure headroom N+1 (TTFT p99)"
    assert found["next_cheaper"]["gpus"] == TRUTH + 1
    assert found["usd_per_message"] == pytest.approx(2.35 * (TRUTH + 2) / 3600 / 400, rel=0.01)


def test_the_cheapest_gpu_is_taken(tmp_path: Path) -> None:
    """All GPUs are as fast here, so the price decides; the dearer ones cost more, and are told."""
    found = planned(tmp_path, "plan.gpus=[H200, A100-80GB, H100-80GB]")
    assert (found["gpu_type"], found["gpus"]) == ("A100-80GB", TRUTH)
    others = [c for c in found["candidates"] if c["gpu_type"] != "A100-80GB"]
    assert {c["verdict"] for c in others} == {"screened, costs more"}
    costs = [c["usd_per_hour"] for c in found["candidates"]]
    assert costs == sorted(costs)


def test_what_cannot_be_built_is_left_out_and_told(tmp_path: Path) -> None:
    found = planned(tmp_path, "plan.max_seqs=[1, 2]")  # a budget of 1 token is under 2 sequences
    assert found["max_seqs"] == 1
    assert "token_budget" in found["impossible"][0]["why"]
    with pytest.raises(UserError):
        planned(tmp_path, "plan.max_seqs=[2, 3]")


def test_all_choices() -> None:
    s = load_scenario(
        Path("scenarios") / "baseline.yaml",
        sets=["plan.gpus=[H100-80GB, H200]", "plan.routers=[affinity, sticky]"],
    ).scenario
    assert len(choices_of(s)) == 4
    assert {c.of(s).router.policy for c in choices_of(s)} == {"affinity", "sticky"}


def test_the_error_of_step_times_reaches_the_answer(tmp_path: Path) -> None:
    """A seventh of the baseline's peak, one minute of it, on the measured profile."""
    loaded = load_scenario(
        Path("scenarios") / "baseline.yaml",
        sets=[
            "traffic.messages_per_s=120",
            "traffic.sessions.live=6600",
            "fleet.replicas=8",
            "plan.window=1min",
            "plan.warm_up=30s",
            "plan.pass_probability=0.8",
        ],
    )
    (tmp_path / "kept").mkdir()
    found = document(make_plan(Asked(loaded.scenario, loaded.base_dir, tmp_path / "kept")))
    low, high = found["error_band"]["step_time_error"]
    assert low == -high < 0
    assert found["error_band"]["gpus_low"] <= found["gpus"] <= found["error_band"]["gpus_high"]
    assert found["step_times"].startswith("measured: h100-80gb-kaiju-13b-tp1")


def test_no_fleet_is_enough(tmp_path: Path) -> None:
    found = planned(tmp_path, "slo.ttft=20ms", "traffic.messages_per_s=20")
    assert found["gpus"] is None
    assert found["next_cheaper"] is None
    assert found["usd_per_message"] is None
    assert found["binds"] == "TTFT p99"
    most = max(candidate["gpus"] for candidate in found["candidates"])
    assert lines_of(found) == [
        f"staffing: no fleet of up to {most} GPUs meets the objectives",
        "the largest misses: TTFT p99",
    ]


def test_a_gpu_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"plan\.gpus: unknown name 'B900'.*allowed: H100-80GB"):
        planned(tmp_path, "plan.gpus=[H100-80GB, B900]")


@pytest.mark.parametrize(("replicas", "code"), [(TRUTH - 1, 3), (TRUTH, 0)])
def test_check_of_the_stated_fleet(tmp_path: Path, replicas: int, code: int) -> None:
    assert check(asked(tmp_path, f"fleet.replicas={replicas}")).exit_code == code


def test_check_is_undecided_between(tmp_path: Path) -> None:
    """A limit that about nine windows of ten meet: neither verdict is shown."""
    found = check(asked(tmp_path, "fleet.replicas=6", "slo.ttft=52ms"))
    assert found.exit_code == 4
    judged = found.candidate.judged
    assert judged is not None
    assert judged.low < 0.95 < judged.high


def test_lost_nodes_are_whole_shards_of_every_cell() -> None:
    file = Path("scenarios") / "published.yaml"
    s = load_scenario(file, sets=["plan.survive_nodes=1"]).scenario
    assert lost_replicas(s) == 8 * 4
    odd = ["fleet.tensor_parallel=3", "plan.survive_nodes=1"]
    assert lost_replicas(load_scenario(file, sets=odd).scenario) == 3 * 4


def test_the_peak_of_a_day() -> None:
    """The busiest quarter of an hour of baseline's day is around 20 h, at twice the mean rate."""
    s = load_scenario(Path("scenarios") / "baseline.yaml", overrides=["day"]).scenario
    assert busiest_s(s) / 3600 == pytest.approx(17, abs=0.3)  # 20 h, from 3 h on
    peak = at_peak(s)
    diurnal = peak.traffic.diurnal
    assert diurnal is not None
    assert diurnal.start_hour == pytest.approx(20, abs=0.4)
    assert peak.traffic.sessions.live == pytest.approx(10000 * 2.03 / 0.38, rel=0.1)


def test_the_command_and_its_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [word for item in SHORT for word in ("--set", item)]
    words = ["plan", str(written(tmp_path)), *sets, "-o", str(tmp_path / "out"), "--workers", "1"]
    assert main([*words, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["gpus"] == TRUTH
    assert main(words) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"staffing: {TRUTH} H100-80GB = {TRUTH} replicas x TP 1,")
    assert main([*words, "--check"]) == 3  # as stated it has four
    assert "fails" in capsys.readouterr().out
    assert main([*words, "--check", "--set", f"fleet.replicas={TRUTH}"]) == 0
    assert main([*words, "--set", "slo.ttft=null"]) == 2
