"""The same messages through the engine and through the simulator's two loops: the same outcome."""

import numpy as np
import pytest
from fidelity_small import chat, crowd, profile, setting

from calibrate.bench import Setting, setting_of
from calibrate.fidelity.compare.figures import figures
from calibrate.fidelity.curves import curves_for, without_engine
from calibrate.fidelity.outcome import DONE, Outcome
from calibrate.fidelity.serve.drive import drive
from calibrate.fidelity.serve.recorder import column, predicted
from calibrate.fidelity.simulate import simulate

COLUMNS = ("arrival", "admit", "first", "end", "output", "cached", "preempted", "state", "itl")


def assert_same(one: Outcome, other: Outcome) -> None:
    for name in COLUMNS:
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert one.itl_ns == other.itl_ns


def test_dialogues_come_out_the_same_to_the_nanosecond() -> None:
    """Warm dialogues of the published shape, with the compiled loop as `kaiju-sim run` uses it: so
    every figure of a perfect engine has an error of exactly 0."""
    workload = chat()
    bench, fit, curves = setting(workload)
    run = drive(bench, fit, curves, workload)
    simulated = simulate(fit, curves, workload)
    assert_same(run.outcome, simulated)
    assert (run.outcome.state == DONE).all()
    assert figures(run.outcome, workload) == figures(simulated, workload)
    hits = run.outcome.cached.sum() / sum(m.prompt for m in workload.messages)
    assert 0.85 < hits < 0.99  # the warm prompts are there
    device = curves_for(without_engine(profile()), fit.limits)
    assert (column(run.steps, "device") == predicted(device, run.steps)).all()


@pytest.mark.parametrize(
    ("rules", "names"),
    [
        ({}, True),
        ({"blocks": 60, "windows": 20}, True),
        ({"one_pool": True, "is_trace": True}, True),
        ({"is_trace": True}, False),
    ],
    ids=("plain", "too little memory", "one pool", "nothing shared"),
)
def test_the_three_loops_agree(rules: dict[str, int], names: bool) -> None:
    workload = crowd(names=names)
    bench, fit, curves = setting(workload, **rules)
    run = drive(bench, fit, curves, workload)
    assert_same(run.outcome, simulate(fit, curves, workload, engine="reference"))
    assert_same(run.outcome, simulate(fit, curves, workload))
    assert (run.outcome.cached.sum() > 0) == names
    assert (run.outcome.preempted.sum() > 0) == ("blocks" in rules)


def test_messages_may_be_given_other_arrivals() -> None:
    """In another order, too: the outcome is in the workload's."""
    workload = crowd()
    _, fit, curves = setting(workload)
    at = workload.arrivals_ns[::-1].copy()
    found = simulate(fit, curves, workload, at)
    assert (found.arrival == at).all()
    assert (found.output == workload.outputs).all()
    assert (found.admit >= at).all()


def test_the_engine_that_was_measured_is_the_one_that_is_simulated() -> None:
    """Fewer blocks, fewer windows: other outcomes. And what a run was saved with is read back."""
    workload = crowd()
    _, fit, curves = setting(workload, blocks=60, windows=20)
    plenty = simulate(setting(workload)[1], curves, workload)
    assert simulate(fit, curves, workload).end.max() > plenty.end.max()
    assert setting_of(fit.as_json()) == fit
    assert isinstance(fit, Setting)


def test_messages_wait_for_the_wall_clock_with_a_generator() -> None:
    """Real time, half a second of it: each is handed in when it is due or later, none is lost."""
    workload = crowd(20)
    bench, fit, curves = setting(workload)
    bench.is_timed = True
    short = curves._replace(**{
        name: getattr(curves, name) / 20
        for name in ("host_ns", "rows_ns", "seqs_ns", "slope", "offset")
    })  # fmt: skip
    run = drive(bench, fit, short, workload)
    late = run.outcome.arrival - workload.arrivals_ns
    assert (run.outcome.state == DONE).all()
    assert (late >= 0).all()
    assert np.median(late) < 50_000_000
    assert (run.outcome.output == workload.outputs).all()
    begin, end = column(run.steps, "begin"), column(run.steps, "end")
    assert (begin[1:] >= end[:-1]).all()
