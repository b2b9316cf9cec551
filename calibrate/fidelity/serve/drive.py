"""One run: a workload on an engine, under its clock, and what came of it."""

import contextlib
import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from calibrate.bench import Bench, Served, Setting
from calibrate.engine.clock import Clock
from calibrate.engine.executor import Executor
from calibrate.engine.requests import Answer, Request, State
from calibrate.fidelity.outcome import DONE, REFUSED, SHED, Ints, Outcome, gaps_of
from calibrate.fidelity.serve.generator import LoadGenerator, hand_in_ahead
from calibrate.fidelity.serve.recorder import Recorder, Steps
from calibrate.fidelity.serve.warm import warm_up
from calibrate.fidelity.workload import Tokens, Workload
from kaiju_sim.steptime.curves import Curves

Tell = Callable[[float], None]
HEAD_START_NS = 100_000_000
"""Between the last preparation and the workload's beginning, under a clock that runs."""
TELL_NS = 1_000_000_000
SWITCH_S = 0.0005
"""How long the engine's thread may keep the interpreter's lock while the generator wants it."""


@dataclass(frozen=True)
class Run:
    """What was measured."""

    outcome: Outcome
    steps: Steps
    telemetry: dict[str, Any]
    """Of the card, during the run."""


def drive(
    bench: Bench, setting: Setting, curves: Curves, workload: Workload, *, ahead: bool = False,
    tell: Tell = lambda fraction: None,
) -> Run:  # fmt: skip
    """Serve a workload on a new engine. `ahead`: all messages are handed in before it begins, each
    with its time of arrival (always so under a clock that does not run)."""
    recorders: list[Recorder] = []

    def wrap(inner: Executor, clock: Clock) -> Executor:
        recorders.append(Recorder(inner, clock))
        return recorders[0]

    served = bench.serve(setting, curves, len(workload.messages), wrap)
    requests = requests_of(workload, bench.vocab, 1 << setting.limits.shift)
    warm_up(served.engine, workload)
    bench.card.telemetry()
    with undisturbed():
        start = served.clock.now_ns() + (HEAD_START_NS if bench.is_timed else 0)
        due = (workload.arrivals_ns + start).tolist()
        if ahead or not bench.is_timed:
            answers = hand_in_ahead(served.engine.door, requests, due)
            served.engine.run()
        else:
            answers = _generated(served, requests, due, tell)
    telemetry = bench.card.telemetry()
    return Run(_outcome(answers, workload, start), recorders[0].steps(start), telemetry)


def _generated(
    served: Served, requests: Sequence[Request], due: Sequence[int], tell: Tell
) -> list[Answer | None]:
    last, told = max(due[-1] - due[0], 1), [due[0]]

    def said(number: int) -> None:
        if due[number] - told[0] > TELL_NS:  # seldom: it keeps the engine's thread waiting
            told[0] = due[number]
            tell((due[number] - due[0]) / last)

    load = LoadGenerator(served.engine.door, served.clock, requests, due, said)
    load.start()
    try:
        served.engine.run()
    finally:
        load.stop()
    return load.answers


def requests_of(workload: Workload, vocab: int, block: int) -> list[Request]:
    """The messages as requests: answers of exactly so many tokens."""
    tokens = Tokens(vocab, block)
    return [
        Request(tokens.of(m, number), m.output, m.path)
        for number, m in enumerate(workload.messages)
    ]


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Without garbage collection, and with a lock that changes hands sooner."""
    interval = sys.getswitchinterval()
    gc.collect()
    gc.freeze()
    gc.disable()
    sys.setswitchinterval(SWITCH_S)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        gc.enable()
        gc.unfreeze()


def _outcome(answers: Sequence[Answer | None], workload: Workload, start: int) -> Outcome:
    assert len(answers) == len(workload.messages), "every message was handed in"
    since, until = (round(s * 1e9) + start for s in (workload.warm_s, workload.seconds))
    itl, itl_ns = gaps_of([a.token_at for a in answers if a is not None], since, until)

    def each(value: Callable[[Answer], int]) -> Ints:
        return np.array([-1 if a is None else value(a) for a in answers], np.int64)

    def times(value: Callable[[Answer], int]) -> Ints:
        at = each(value)
        return np.where(at < 0, -1, at - start)

    states = {State.DONE: DONE, State.SHED: SHED}
    state = [REFUSED if a is None else states.get(a.state, REFUSED) for a in answers]
    return Outcome(
        arrival=times(lambda a: a.arrival), admit=times(lambda a: a.admitted),
        first=times(lambda a: a.token_at[0] if a.token_at else -1), end=times(lambda a: a.ended),
        output=each(lambda a: len(a.tokens)), cached=each(lambda a: a.cached),
        preempted=each(lambda a: a.preempted), state=np.array(state, np.int64),
        itl=itl, itl_ns=itl_ns,
    )  # fmt: skip
