"""What differs is found, and named: distortions of a known size, one after the other."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fidelity_small import (
    BLOCKS,
    WINDOWS,
    chat,
    crowd,
    distorted,
    options,
    profile,
    quiet,
    setting,
)

from calibrate.fidelity import command
from calibrate.fidelity.compare.causes import shifted
from calibrate.fidelity.compare.figures import CAPACITY_METRICS, capacity, figures
from calibrate.fidelity.compare.rows import rows_of
from calibrate.fidelity.compare.steps import afters
from calibrate.fidelity.compare.verdict import judged, worst
from calibrate.fidelity.curves import without_engine
from calibrate.fidelity.outcome import DONE, Outcome, gaps_of
from calibrate.fidelity.serve.drive import drive
from calibrate.fidelity.serve.fake import Change, Distortion, FakeBench
from calibrate.fidelity.serve.recorder import COLUMNS
from calibrate.fidelity.simulate import simulate
from calibrate.fidelity.workload import Workload
from kaiju_sim.steptime.part import EngineHost
from kaiju_sim.steptime.profile import Profile, profile_json

pytestmark = pytest.mark.usefixtures("few_dialogues")
ALL = ("decode", "mixed", "prefill")


def compared(out: Path, distortion: Distortion, *names: str) -> dict[str, Any]:
    asked = options(out, *(names or ("poisson-70",)))
    command.run(asked, quiet(), lambda line: None, distorted(distortion))
    return command.read(asked)


def row_of(rows: list[dict[str, Any]], **wanted: Any) -> dict[str, Any]:
    (found,) = (row for row in rows if all(row[k] == v for k, v in wanted.items()))
    return found


def test_a_perfect_engine_has_no_error_at_all(tmp_path: Path) -> None:
    found = compared(tmp_path, Distortion())
    assert len(found["rows"]) == 21
    assert {row["rel_error"] for row in found["rows"]} == {0.0}
    assert all(row["mean_abs"] == 0 for row in found["paired"])
    assert all(row["bias"] == 0 for row in found["steps"])
    for row in found["steps"]:
        assert row["host_s"] == pytest.approx(row["predicted_host_s"], rel=1e-12)
        assert row["after_s"] == pytest.approx(row["predicted_after_s"], rel=1e-12)
    assert all(row["rest"] == row["step_time"] == 0 for row in found["causes"])
    assert found["verdict"] == {"judged": 7, "kept": 7, "missed": [], "capacity_errors": []}


def test_longer_steps_are_found_and_named(tmp_path: Path) -> None:
    found = compared(tmp_path, Distortion({"mixed": 1.25}))
    assert row_of(found["steps"], kind="mixed")["bias"] == pytest.approx(-0.2, abs=1e-4)
    assert row_of(found["steps"], kind="decode")["bias"] == 0
    tpot = row_of(found["causes"], metric="tpot", statistic="mean")
    assert tpot["rel_error"] < -0.02
    assert tpot["step_time"] == pytest.approx(tpot["rel_error"], rel=0.05)
    assert abs(tpot["engine_host"]) + abs(tpot["arrival_jitter"]) < 0.001
    assert found["worst"]["rel_error"] < -0.03
    assert found["verdict"]["kept"] < found["verdict"]["judged"]
    assert row_of(found["rows"], metric="ttft", statistic="mean")["rel_error"] < -0.02
    assert row_of(found["paired"], metric="tpot")["p50"] < -0.01


def saved(folder: Path, made: Profile) -> str:
    """A file of the profile."""
    file = folder / "own-profile.json"
    file.write_text(profile_json(made))
    return str(file)


def test_the_engines_own_time_is_found_and_named(tmp_path: Path) -> None:
    """An engine that takes some, and a profile that has none."""
    made = without_engine(profile())
    before, after = (dict.fromkeys(ALL, Change(1, ns)) for ns in (4e5, 2e5))
    bench = FakeBench(BLOCKS, WINDOWS, Distortion({}, before, after), profile=made)
    asked = replace(options(tmp_path, "poisson-70"), profile=saved(tmp_path, made))
    command.run(asked, quiet(), lambda line: None, partial(as_it_is, bench))
    found = command.read(asked)
    for row in found["steps"]:
        assert row["bias"] == 0
        assert row["host_s"] == pytest.approx(row["predicted_host_s"] + 400e-6)
        assert row["after_s"] == pytest.approx(row["predicted_after_s"] + 200e-6)
    tpot = row_of(found["causes"], metric="tpot", statistic="p50")
    assert tpot["engine_host"] == pytest.approx(tpot["rel_error"])
    assert tpot["rel_error"] < -0.03
    assert all(abs(row["rest"]) < 0.01 for row in found["causes"])


def with_engine(**times: float) -> Profile:
    """The profile, as if it had this host time of the engine."""
    host = EngineHost(**times, n=100, median_abs_rel_error=0.0, p95_abs_rel_error=0.0)
    return profile().model_copy(update={"engine_host": host})


def test_the_engines_own_time_that_a_profile_has_is_simulated(tmp_path: Path) -> None:
    """An engine as such a profile says has no error; one whose own work takes half as long is told
    from one whose steps are shorter."""
    times = {"step_s": 3e-4, "seq_s": 4e-6, "prefill_s": 1e-4, "prompt_s": 5e-5}
    after = {"after_s": 2e-4, "after_seq_s": 2e-6, "after_prompt_s": 1e-4}
    made = with_engine(**times, **after)
    halves = dict.fromkeys(ALL, Change(0.5))
    half = Distortion({}, halves, halves)
    for name, distortion in (("same", Distortion()), ("half", half)):
        asked = replace(options(tmp_path / name, "poisson-70"), profile=saved(tmp_path, made))
        bench = FakeBench(BLOCKS, WINDOWS, distortion, profile=made)
        command.run(asked, quiet(), lambda line: None, partial(as_it_is, bench))
        found = command.read(asked)
        assert all(row["predicted_host_s"] > 3e-4 for row in found["steps"])
        assert all(row["predicted_after_s"] > 2e-4 for row in found["steps"])
        assert all(row["bias"] == 0 for row in found["steps"])
        tpot = row_of(found["causes"], metric="tpot", statistic="mean")
        if name == "same":
            assert {row["rel_error"] for row in found["rows"]} == {0.0}
            assert all(row["rest"] == row["engine_host"] == 0 for row in found["causes"])
        else:
            assert tpot["rel_error"] > 0.01
            assert tpot["engine_host"] == pytest.approx(tpot["rel_error"], rel=0.02)


def as_it_is(bench: FakeBench) -> FakeBench:
    return bench


def test_the_generators_lateness_is_found_and_named() -> None:
    """A message that is handed in later is later by all clocks but its own."""
    workload = chat()  # the last ones come after the measured time
    bench, fit, curves = setting(workload)
    at = workload.arrivals_ns + np.arange(len(workload.messages)) % 2 * 40_000_000
    at = np.maximum.accumulate(at)
    late = drive(bench, fit, curves, shifted(workload, at)).outcome
    assert (late.arrival == at).all()
    told = figures(simulate(fit, curves, workload, at), workload)
    nominal = figures(simulate(fit, curves, workload), workload)
    assert figures(late, workload) == told != nominal


def test_parts_of_an_error_add_up(tmp_path: Path) -> None:
    more = {"decode": Change(1, 1e5), "mixed": Change(1, 2e5)}
    mixture = Distortion({"decode": 0.98, "mixed": 1.03}, more)
    found = compared(tmp_path, mixture, "poisson-85")
    parts = ("arrival_jitter", "step_time", "engine_host", "rest")
    for row in found["causes"]:
        assert sum(row[part] for part in parts) == pytest.approx(row["rel_error"], abs=1e-9)


def test_an_error_of_the_capacity_is_judged_by_one_percent() -> None:
    """Steps that take 3 % longer, while more messages wait than a batch holds."""
    drawn = chat()
    at_once = [m._replace(arrival_ns=0) for m in drawn.messages]
    workload = Workload(at_once, drawn.warm, {**drawn.recipe, "name": "capacity", "load": None})
    bench, fit, curves = setting(workload)
    fit = replace(fit, limits=fit.limits._replace(max_seqs=32))
    longer = dict.fromkeys(ALL, Change(1.03))
    bench.distortion = Distortion(dict.fromkeys(ALL, 1.03), longer, longer)
    measured = figures(drive(bench, fit, curves, workload).outcome, workload)
    simulated = figures(simulate(fit, curves, workload), workload)
    rows = judged(rows_of(workload.recipe, [measured], [simulated]))
    assert [row["metric"] for row in rows] == list(CAPACITY_METRICS)
    for row in rows:
        assert row["rel_error"] == pytest.approx(0.03, abs=1e-6)
        assert (row["allowed"], row["ok"]) == (0.01, False)


def test_near_the_capacity_ttft_is_a_band(tmp_path: Path) -> None:
    """An engine as the profile says is about there, one that takes a fifth longer is not."""
    distance = []
    for factor in (1.0, 1.2):
        distortion = Distortion(dict.fromkeys(ALL, factor))
        found = compared(tmp_path / str(factor), distortion, "poisson-95")
        assert [row["statistic"] for row in found["bands"]] == ["p50", "p90", "p99", "mean"]
        for row in found["bands"]:
            assert row["low"] < row["high"]
            assert row["inside"] == (row["low"] <= row["measured"] <= row["high"])
        mean = row_of(found["bands"], statistic="mean")
        distance.append(mean["measured"] / mean["high"] - 1)
        assert all(row["allowed"] is None for row in found["rows"])
    assert distance[0] < 0.05 < distance[1]


def test_the_spread_of_repeats_stands_beside_each_error() -> None:
    recipe = {"name": "x", "load": 0.7}
    runs = [{("ttft", "p50"): 1.0}, {("ttft", "p50"): 1.1}]
    (row,) = judged(rows_of(recipe, runs, [{("ttft", "p50"): 1.155}]))
    assert row["measured"] == pytest.approx(1.05)
    assert row["rel_error"] == pytest.approx(0.1)
    assert row["repeat_spread"] == pytest.approx(0.1 / 1.05)
    assert row["allowed"] == pytest.approx(0.2 / 1.05)
    assert row["ok"]
    (alone,) = judged(rows_of(recipe, runs[:1], [{("ttft", "p50"): 1.031}]))
    assert alone["repeat_spread"] is None
    assert alone["allowed"] == 0.03
    assert alone["ok"] is False
    assert worst([row, alone]) == worst([row])
    beyond = judged(rows_of({"name": "x", "load": 0.95}, runs, [{("ttft", "p50"): 2.0}]))
    assert beyond[0]["ok"] is None


def outcome_of(**columns: list[int]) -> Outcome:
    sizes = {name: np.array(values, np.int64) for name, values in columns.items()}
    zeros = np.zeros(len(sizes["end"]), np.int64)
    names = ("arrival", "admit", "first", "end", "output", "cached", "preempted", "state")
    found = {name: sizes.get(name, zeros) for name in names}
    return Outcome(**found, itl=np.zeros(1, np.int64), itl_ns=0)


def test_capacity_is_counted_while_messages_wait() -> None:
    """100 messages of 10 tokens, one each 10 ms; the last one is admitted at 0.9 s."""
    ends = [10_000_000 * (i + 1) for i in range(100)]
    admits = [min(end, 900_000_000) for end in ends]
    found = capacity(outcome_of(end=ends, admit=admits, output=[10] * 100))
    assert found["capacity_messages_per_s", "mean"] == pytest.approx(100)
    assert found["capacity_tokens_per_s", "mean"] == pytest.approx(1000)
    assert capacity(outcome_of(end=[1] * 5)) == {}


def test_gaps_between_tokens_are_those_of_the_measured_time() -> None:
    counts, total = gaps_of([[0, 10_000, 30_000], [5_000, 40_000], []], 9_000, 35_000)
    assert (counts.sum(), total) == (2, 30_000)


def test_the_engines_own_time_counts_while_somebody_is_there() -> None:
    """Three steps: the first message comes at 5, is served from 8 to 20 and from 23 to 30; the next
    one comes at 100 and is served from 107 to 120."""
    steps = np.zeros((3, len(COLUMNS)), np.int64)
    steps[:, 0], steps[:, 2] = [8, 23, 107], [20, 30, 120]
    outcome = outcome_of(arrival=[5, 100], end=[30, 120])
    assert afters(outcome, steps).tolist() == [3, -1, -1]


def test_runs_of_another_card_stand_apart(tmp_path: Path) -> None:
    """Two runs of one card, one of another: the errors are the first one's."""

    class Other(FakeBench):
        def identity(self) -> dict[str, str]:
            return {"gpu_name": "other", "driver": "1", "uuid": "GPU-other"}

    asked = options(tmp_path, "poisson-40", repeats=2)
    command.run(asked, quiet(), lambda line: None, distorted(Distortion()))
    bench = Other(BLOCKS, WINDOWS, Distortion(dict.fromkeys(ALL, 1.1)))
    bench.card = bench  # type: ignore[assignment]
    bench.telemetry = lambda: {"sm_mhz": 1.0, "slowed_by": ""}  # type: ignore[attr-defined]
    more = options(tmp_path, "poisson-40", repeats=3)
    command.run(more, quiet(), lambda line: None, lambda: bench)
    found = command.read(more)
    assert {row["rel_error"] for row in found["rows"]} == {0.0}
    assert {row["card"] for row in found["other_cards"]} == {"GPU-other"}
    assert row_of(found["other_cards"], metric="tpot", statistic="mean")["rel_error"] < -0.05
    assert found["provenance"]["cards"] == ["none"]
    assert not found["provenance"]["same_card"]


def test_messages_that_are_not_done_do_not_count() -> None:
    workload = crowd()
    _, fit, curves = setting(workload)
    found = simulate(fit, curves, workload)
    state = found.state.copy()
    state[30:] = DONE + 1
    columns = {**vars(found), "state": state}
    fewer = figures(Outcome(**columns), workload)
    assert fewer["e2e", "mean"] != figures(found, workload)["e2e", "mean"]
