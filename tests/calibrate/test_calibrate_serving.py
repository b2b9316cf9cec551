"""The serving engine's own time: a load to see it under, found again by the fit, carried along."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import synthetic_engine
from fake_rig import FakeClock, FakeRig, FakeServing
from serving_limits import constant_curves, limits_with

from calibrate import run
from calibrate.__main__ import main
from calibrate.design.serving import REQUESTS
from calibrate.engine.clock import WallClock
from calibrate.engine.engine import Engine, Sizes
from calibrate.engine.executor import StepPlan
from calibrate.engine.memory.rings import reserve_pages
from calibrate.engine.requests import State
from calibrate.engine.steady import SteadyLoad, Watched
from calibrate.fit.host import engine_host
from calibrate.fit.profile import refit
from calibrate.fit.read import read_samples
from calibrate.measure.talk import Talk
from calibrate.report.collect import profile_report
from calibrate.report.heldout import held_out
from calibrate.report.show import tables
from calibrate.samples import read_engine, read_job
from calibrate.shapes import EngineStep
from kaiju_sim.catalog.models import find_model
from kaiju_sim.steptime.convert import curves_from_profile
from kaiju_sim.steptime.curves import decode_ns, fixed_ns, prefill_ns, step_ns
from kaiju_sim.steptime.part import EngineHost
from kaiju_sim.steptime.profile import Profile, parse_profile, profile_json

ID = "h100-80gb-kaiju-13b-tp1"


def measured(
    out: Path, serving: FakeServing | None = None, budget_s: float = 480.0, **asked: Any
) -> FakeRig:
    """A job, on a rig that has been there."""
    clock = FakeClock()
    rig = FakeRig(clock)
    if serving is not None:
        rig.serving = serving
        serving.clock = clock
    options = run.Asked("kaiju-13b", 1, "auto", out, budget_s, **asked)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "publish", lambda folder, target: None)
        run.run(options, [], Talk(quiet=True), lambda line: None, rig.opened, clock)
    return rig


def test_what_the_engine_takes_is_found_again(tmp_path: Path) -> None:
    """Steps of which each takes its own time, with a few far out: the means are found."""
    rig = measured(tmp_path, only=("engine",))
    assert rig.serving.asked == list(REQUESTS)
    rows = read_engine(tmp_path / ID)
    assert [row["requests"] for row in rows] == sorted(REQUESTS, key=str)
    found = engine_host(read_samples(tmp_path / ID).engine)
    assert found is not None
    own = FakeServing
    assert found.step_s == pytest.approx(own.step_s, abs=1.5e-5)
    assert found.seq_s == pytest.approx(own.seq_s, rel=0.15)
    prompts = found.prefill_s + 1.5 * found.prompt_s
    assert prompts == pytest.approx(own.prefill_s + 1.5 * own.prompt_s, rel=0.1)
    assert found.after_s == pytest.approx(own.after_s, abs=1e-5)
    assert found.after_seq_s == pytest.approx(own.after_seq_s, rel=0.15)
    assert found.after_prompt_s == pytest.approx(own.after_prompt_s, rel=0.15)
    steps = sum(len(row["period_s"]) for row in rows)
    assert 0.99 * steps < found.n < steps
    assert 0.05 < found.median_abs_rel_error < found.p95_abs_rel_error < 1


def test_a_job_that_goes_on_measures_what_is_missing_of_it(tmp_path: Path) -> None:
    class Breaks(FakeServing):
        def run(self, sequences: int, seconds: float) -> list[EngineStep]:
            if sequences > 32:
                raise KeyboardInterrupt
            return super().run(sequences, seconds)

    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path, Breaks(FakeClock()), only=("engine",))
    rig = measured(tmp_path, only=("engine",))
    assert rig.serving.asked == [64, 96, 128, 192, 256]
    assert len(read_engine(tmp_path / ID)) == len(REQUESTS)
    assert measured(tmp_path, only=("engine",)).serving.asked == []


def test_samples_from_before_get_it_in_a_minute(tmp_path: Path) -> None:
    """A job that was complete without it: the same command, with a small budget, adds it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("calibrate.design.plan.serving_items", lambda *of: ())
        measured(tmp_path)
    assert read_job(tmp_path / ID)["complete"]
    assert not (tmp_path / ID / "engine.parquet").exists()
    rig = measured(tmp_path, budget_s=90.0)
    assert rig.serving.asked == list(REQUESTS)
    assert len(read_engine(tmp_path / ID)) == len(REQUESTS)
    job = read_job(tmp_path / ID)
    assert job["complete"]
    assert job["over_budget_s"] == 0


def test_a_size_that_fails_is_told_and_does_not_end_the_job(tmp_path: Path) -> None:
    class Small(FakeServing):
        def run(self, sequences: int, seconds: float) -> list[EngineStep]:
            if sequences == 256:
                raise RuntimeError("no memory")
            return super().run(sequences, seconds)

    measured(tmp_path, Small(FakeClock()), only=("engine",))
    assert len(read_engine(tmp_path / ID)) == len(REQUESTS) - 1
    job = read_job(tmp_path / ID)
    assert job["failed"] == {"engine/b256": "RuntimeError: no memory"}


def test_the_plan_names_it_with_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dry-run"]) == 0
    (line,) = [s for s in capsys.readouterr().out.splitlines() if s.startswith("engine ")]
    assert line.split()[1:4] == [str(len(REQUESTS)), "18", "s"]


class Fitted(NamedTuple):
    profile: Profile
    folder: Path
    without: Path
    """The same samples, but for the engine's."""


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """Fitted to synthetic steps, and to an engine measured beside them."""
    folder = tmp_path_factory.mktemp("fitted")
    measured(folder, only=("engine",))
    items = synthetic_engine.planned("edge", "prefill", "heldout")
    for out in (folder / ID, folder / "without"):
        synthetic_engine.write_samples(out, items)
    return Fitted(refit(folder / ID), folder / ID, folder / "without")


def test_a_simulated_step_has_it_and_held_out_steps_do_not(fitted: Fitted) -> None:
    """Exactly so much a step, a sequence, a step with prompts; the errors on steps that were
    measured without the engine are those of a profile without it."""
    profile = fitted.profile
    host = profile.engine_host
    assert host is not None
    assert host.prefill_s > 0
    bare = profile.model_copy(update={"engine_host": None})
    with_it, without = (curves_from_profile(p, 600, 64) for p in (profile, bare))
    for rows, seqs, pairs in ((40, 40, 0), (300, 41, 9000), (64, 64, 1), (1, 1, 0)):

        def took(curves: Any, at: tuple[int, int, int] = (rows, seqs, pairs)) -> int:
            decode = decode_ns(curves, 1000 * at[1], 900 * at[1], at[1])
            prefill = prefill_ns(curves, at[2], at[2])
            return step_ns(fixed_ns(curves, at[0], at[1]), decode, prefill)

        added = host.step_s + seqs * host.seq_s + (pairs > 0) * host.prefill_s
        assert took(with_it) - took(without) == pytest.approx(added * 1e9, abs=2)
    bare_twin = refit(fitted.without)
    assert bare_twin.engine_host is None
    assert (profile.heldout, profile.curves) == (bare_twin.heldout, bare_twin.curves)
    shown = held_out(fitted.folder, profile, find_model("kaiju-13b"))
    assert profile.heldout is not None
    assert shown["bias"] == profile.heldout.bias


def test_a_profile_keeps_it_and_one_without_it_is_as_before(fitted: Fitted) -> None:
    profile = fitted.profile
    text = profile_json(profile)
    assert parse_profile(text.encode(), "here") == profile
    bare = profile_json(profile.model_copy(update={"engine_host": None}))
    assert "engine_host" not in bare
    assert parse_profile(bare.encode(), "here").engine_host is None


def test_too_few_steps_say_nothing() -> None:
    step = EngineStep(0.0101, 0.01, 8, 0, 0, 0, 40_000)
    assert engine_host([step] * 49) is None
    found = engine_host([step] * 50)
    assert isinstance(found, EngineHost)
    before = found.step_s + 8 * found.seq_s
    assert before == pytest.approx(6e-5, rel=1e-3)
    assert found.after_s + 8 * found.after_seq_s == pytest.approx(4e-5, rel=1e-3)


def test_the_report_shows_it_or_says_that_it_is_not_there(tmp_path: Path) -> None:
    synthetic_engine.write_samples(tmp_path / ID, synthetic_engine.planned("edge", "heldout"))
    assert "was not measured" in tables.head(profile_report(ID, tmp_path))
    measured(tmp_path / "other", only=("engine",))
    (tmp_path / "other" / ID / "engine.parquet").rename(tmp_path / ID / "engine.parquet")
    report = profile_report(ID, tmp_path)
    assert "was not measured" not in tables.head(report)
    lines = report["engine"]["lines"]
    assert [line["requests"] for line in lines] == list(REQUESTS)
    assert all(line["prompts_us"] > line["decode_us"] > 50 for line in lines)
    assert "The profile has none of it" in tables.engine_table(report["engine"]).note


class Slow:
    """Says 7, and that each step took 0.2 ms of the device."""

    device_ns = 200_000

    def run(self, plan: StepPlan) -> list[int]:
        begin = time.perf_counter_ns()
        while time.perf_counter_ns() - begin < self.device_ns:
            pass
        return [7] * len(plan.draws)


def test_the_load_keeps_the_engine_busy_and_leaves_nothing_behind() -> None:
    limits = limits_with(shift=4, window=64, windows=40, token_budget=256, max_seqs=16)
    watched = Watched(Slow())
    sizes = Sizes(3000, reserve_pages(limits), 4096, 16)
    engine = Engine(limits, constant_curves(), sizes, watched, WallClock())
    load = SteadyLoad(engine, watched, vocabulary=50)
    seen = set()
    for requests in (4, 16):
        steps = load.run(requests, 0.5)
        seen |= {step.chunks > 0 for step in steps}
        decodes = np.array([step.decodes for step in steps])
        assert np.median(decodes) >= requests - 2
        assert all(step.decodes + step.filling <= requests for step in steps)
        assert all((step.rows > 0) == (step.chunks > 0) for step in steps)
        assert all(step.period_s > step.step_s == 2e-4 for step in steps)
    assert seen == {True, False}
    assert engine.world.engine.replicas[0].hit > 0
    load.close()
    assert not len(engine.running)
    assert len(engine.door.cancelled()) == 0
    states = {dialogue.answer.state for dialogue in load._open}
    assert State.CANCELLED in states
    assert State.OPEN not in states
