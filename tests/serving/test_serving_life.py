"""Requests that are cancelled, refused, or served by a clock that really runs."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from serving_crowd import MS, Crowd
from serving_limits import constant_curves, limits_with
from serving_twin import CONTEXT, RESERVE, CheckedExecutor, largest

from calibrate.engine.clock import FakeClock, WallClock
from calibrate.engine.engine import Engine, Sizes
from calibrate.engine.executor import FakeExecutor, StepPlan, TimedExecutor
from calibrate.engine.journal import Event
from calibrate.engine.memory.free import NoPagesError
from calibrate.engine.memory.host_tier import NO_HOST, Host
from calibrate.engine.memory.pages import Piece
from calibrate.engine.memory.rings import reserve_pages
from calibrate.engine.requests import Answer, FullError, RefusedError, Request, State


def request(prompt: int = 6, most: int = 3, **changes: object) -> Request:
    return replace(Request(np.arange(prompt, dtype=np.int32), most), **changes)


class Echo:
    """Says 7, in no time."""

    def run(self, plan: StepPlan) -> list[int]:
        return [7] * len(plan.draws)


def echo_engine(clock: WallClock | FakeClock | None = None, inside: int = 4) -> Engine:
    sizes = Sizes(60, RESERVE, 64, inside)
    return Engine(limits_with(), constant_curves(), sizes, Echo(), clock or FakeClock())


class Fickle(CheckedExecutor):
    """Cancels somebody at random while steps run."""

    answers: Sequence[Answer] = ()
    draw: Random

    def run(self, plan: StepPlan) -> list[int]:
        tokens = super().run(plan)
        assert self.engine is not None
        now = self.clock.now_ns()
        inside = [a for a in self.answers if a.state is State.OPEN and a.arrival <= now]
        if inside and self.draw.random() < 0.08:
            self.engine.door.cancel(self.draw.choice(inside))
        return tokens


@pytest.mark.parametrize(("policy", "host"), [(0, NO_HOST), (1, NO_HOST), (0, Host(60, 9))])
def test_who_is_cancelled_leaves_nothing_behind(policy: int, host: Host) -> None:
    """While waiting, loading, being prefilled, decoding, preempted: pages are checked before each
    step, and those who stay get the same answers."""
    limits = limits_with(policy=policy, token_budget=12, load_ns=9.0 * MS, window_load_ns=50.0 * MS)
    crowd = Crowd(11, limits, dialogues=40, span_ns=8000 * MS)
    blocks = largest(crowd.messages, limits.shift) + 20
    clock, log = FakeClock(), list[Event]()
    executor = Fickle(clock, constant_curves())
    sizes = Sizes(blocks, reserve_pages(limits, host=any(host)), CONTEXT, len(crowd.messages), host)
    engine = Engine(limits, constant_curves(), sizes, executor, clock, log.append)
    executor.engine, executor.draw = engine, Random(8)
    executor.prepare(engine)
    executor.answers = [engine.door.submit(m.request, at=m.at) for m in crowd.messages]
    engine.door.close()
    engine.run()
    engine.mirror.check()
    seen = set()
    for answer, message in zip(executor.answers, crowd.messages, strict=True):
        if answer.state is State.DONE:
            assert answer.tokens == message.answer
        else:
            assert answer.state is State.CANCELLED
            assert answer.tokens == message.answer[: len(answer.tokens)]
            seen.add((answer.admitted >= 0, bool(answer.tokens), bool(answer.preempted)))
    assert seen >= {(False, False, False), (True, False, False), (True, True, False)}
    assert engine.world.engine.replicas[0].load == 0
    assert (engine.world.engine.caches[0].loaded > 20) == any(host)


def test_whoever_is_cancelled_twice_ends_once() -> None:
    engine = echo_engine()
    answers = [engine.door.submit(request(most=9)) for _ in range(2)]
    engine.advance()
    for _ in range(2):
        engine.door.cancel(answers[0])
    engine.door.close()
    engine.run()
    assert [answer.state for answer in answers] == [State.CANCELLED, State.DONE]


def test_steps_are_timed_beside_what_the_curves_say() -> None:
    clock, curves = FakeClock(), constant_curves()
    executor = TimedExecutor(FakeExecutor(clock, curves), clock, curves)
    sizes = Sizes(60, RESERVE, 64, 4)
    engine = Engine(limits_with(), curves, sizes, executor, clock)
    engine.door.submit(request(prompt=6, most=3), at=5)
    engine.door.close()
    engine.run()
    assert [step.begin for step in executor.steps] == [5, 5 + 10 * MS, 5 + 20 * MS]
    assert {(step.took, step.predicted) for step in executor.steps} == {(10 * MS, 10 * MS)}
    assert [step.decodes for step in executor.steps] == [0, 1, 1]
    first = executor.steps[0]
    assert (first.chunks, first.rows, first.pairs, first.context) == (1, 6, 21, 0)
    assert executor.steps[2].context == 8


def test_a_stop_token_ends_an_answer() -> None:
    engine = echo_engine()
    stopped = engine.door.submit(request(most=9, stops=frozenset({7})))
    whole = engine.door.submit(request(most=9, stops=frozenset({8})))
    engine.door.close()
    engine.run()
    assert (stopped.tokens, whole.tokens) == ([7], [7] * 9)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (request(prompt=0), "at least one"),
        (request(most=0), "at least one"),
        (request(prompt=64), "context"),
        (request(path=(Piece(1, 2),)), "path"),
        (request(path=(Piece(1, -1),)), "path"),
        (request(path=(Piece(1, 0),) * 5), "pieces"),
    ],
)
def test_what_can_never_be_served_is_refused_at_the_door(wrong: Request, word: str) -> None:
    with pytest.raises(RefusedError, match=word):
        echo_engine().door.submit(wrong)


def test_an_answer_is_cut_where_the_context_ends() -> None:
    engine = echo_engine()
    answer = engine.door.submit(request(prompt=60, most=100))
    engine.door.close()
    engine.run()
    assert len(answer.tokens) == 4


def test_what_is_larger_than_all_memory_is_refused() -> None:
    sizes = Sizes(10, RESERVE, 64, 4)
    engine = Engine(limits_with(), constant_curves(), sizes, Echo(), FakeClock())
    with pytest.raises(RefusedError, match="memory"):
        engine.door.submit(request(prompt=30, most=11))
    assert engine.door.submit(request(prompt=30, most=10)).state is State.OPEN


def test_a_full_engine_says_so_and_has_room_again_later() -> None:
    engine = echo_engine(inside=2)
    engine.door.submit(request())
    second = engine.door.submit(request(), at=5)
    with pytest.raises(FullError, match="2 requests"):
        engine.door.submit(request())
    engine.door.cancel(second)  # not inside yet
    assert second.state is State.CANCELLED
    engine.door.submit(request())
    engine.door.close()
    with pytest.raises(RefusedError, match="shutting down"):
        engine.door.submit(request())
    engine.run()


def test_from_other_threads_under_a_clock_that_runs() -> None:
    engine = echo_engine(WallClock(), inside=64)
    serving = threading.Thread(target=engine.run)
    serving.start()
    answers = [engine.door.submit(request(prompt=5 + i)) for i in range(40)]
    assert all(answer.over.wait(20) for answer in answers)
    engine.door.close()
    serving.join(20)
    assert not serving.is_alive()
    assert [answer.tokens for answer in answers] == [[7, 7, 7]] * 40
    assert all(0 <= a.arrival <= a.admitted <= a.token_at[0] <= a.ended for a in answers)


def test_when_a_step_fails_everybody_is_told() -> None:
    class Broken(Echo):
        def run(self, plan: StepPlan) -> list[int]:
            raise RuntimeError("the GPU is lost")

    sizes = Sizes(60, RESERVE, 64, 4)
    engine = Engine(limits_with(), constant_curves(), sizes, Broken(), FakeClock())
    answers = [engine.door.submit(request(), at=at) for at in (0, 0, 99)]
    with pytest.raises(RuntimeError, match="lost"):
        engine.run()
    assert all(answer.state is State.FAILED for answer in answers)
    assert all(answer.over.is_set() for answer in answers)


def test_a_reserve_that_is_too_small_is_noticed() -> None:
    """Not silently wrong: a chunk of four pages needs more than its ring of four."""
    sizes = Sizes(60, 0, 64, 4)
    engine = Engine(limits_with(), constant_curves(), sizes, Echo(), FakeClock())
    for prompt in (47, 46):
        engine.door.submit(request(prompt=prompt, most=1, path=(Piece(prompt, 1), Piece(1, 0))))
    engine.door.close()
    taken = engine.mirror.rings
    assert taken is not None
    for _ in range(len(taken.free)):
        taken.free.take()
    with pytest.raises(NoPagesError, match="in use"):
        engine.run()


def test_the_reserve_is_what_chunks_and_points_need() -> None:
    assert reserve_pages(limits_with()) == 48 // 4 + 8 + 6
    assert reserve_pages(limits_with(policy=2, token_budget=9)) == 9 // 4 + 4 + 8 * 6
    assert reserve_pages(limits_with(windows=0)) == 0
