"""Candidates: decided as in the simulator, on the right pages, and the best is the answer."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any, Literal

import numpy as np
import pytest
from serving_crowd import MS, VOCABULARY, Crowd, ValueScorer, searched
from serving_limits import constant_curves, limits_with
from serving_twin import CONTEXT, CheckedExecutor, cuts_of, largest, reference_log, serve
from test_serving_life import Fickle

from calibrate.engine.beams import Choice
from calibrate.engine.clock import FakeClock
from calibrate.engine.engine import Engine, Sizes
from calibrate.engine.executor import StepPlan
from calibrate.engine.journal import Event
from calibrate.engine.memory.free import Copy, Pool
from calibrate.engine.memory.pages import Piece
from calibrate.engine.memory.rings import reserve_pages
from calibrate.engine.requests import Answer, RefusedError, Request, State
from calibrate.engine.server.completions import reason_of
from kaiju_sim.engine.limits import Limits

RULES: list[dict[str, Any]] = [
    {"candidates": 2, "chunk": 5},
    {"candidates": 4, "chunk": 16},
    {"candidates": 4, "chunk": 5, "policy": 1},
    {"candidates": 2, "chunk": 16, "windows": 0, "retain": 0},
    {"candidates": 2, "chunk": 5, "prefix_cache": 0, "retain": 0},
    {"candidates": 4, "chunk": 3, "retain": 3, "token_budget": 33, "cache_generated": 0},
    {"candidates": 2, "chunk": 5, "policy": 2, "priority": 2, "ttft_ns": 400 * MS},
]


@pytest.mark.parametrize("rules", RULES, ids=lambda rules: "-".join(map(str, rules.values())))
def test_the_engine_decides_as_the_simulator_and_says_what_a_search_would(
    rules: dict[str, Any],
) -> None:
    """Too little memory, preemption in the middle of chunks: the logs are the same, and each answer
    is that of a search on texts."""
    limits = limits_with(**rules)
    for seed in (1, 2):
        crowd = Crowd(seed, limits, dialogues=20, span_ns=2500 * MS)
        blocks = largest(crowd.messages, limits.shift) + limits.extra + 30
        expected, states, world = reference_log(limits, constant_curves(), blocks, crowd.messages)
        cuts = cuts_of(expected, crowd.messages)
        crowd = crowd.with_cuts(cuts)
        served = serve(limits, constant_curves(), blocks, crowd.messages)
        assert served.log == expected
        assert served.states == states
        assert served.engine.world.tally[0].ttft == world.tally[0].ttft > 0
        for answer, message in zip(served.answers, crowd.messages, strict=True):
            assert answer.state is State.DONE
            assert answer.tokens == message.answer
        assert sum(made % limits.chunk > 0 for each in cuts.values() for made in each) > 2
        assert served.copied[Pool.GLOBAL, Pool.GLOBAL] > 60
        hits = sum(event.value > 0 for event in served.log if event.what == "admit")
        assert (hits > 20) == bool(limits.prefix_cache)
        assert served.engine.world.engine.replicas[0].load == 0


class Careless(CheckedExecutor):
    """Forgets copies inside a pool, or takes every row's table from the first candidate."""

    def __init__(self, fault: Pool | None | Literal["tables"], *args: Any) -> None:
        super().__init__(*args)
        self.fault = fault

    def copy(self, copies: Sequence[Copy]) -> None:
        super().copy([copy for copy in copies if copy.of != self.fault])

    def run(self, plan: StepPlan) -> list[int]:
        if self.fault == "tables":
            slots = plan.decodes.slots % (len(plan.global_tables) // 2)
            plan = replace(plan, decodes=replace(plan.decodes, slots=slots))
        return super().run(plan)


@pytest.mark.parametrize("fault", [None, "tables", Pool.GLOBAL, Pool.LOCAL])
def test_a_page_that_is_not_ones_own_deceives_nobody(
    fault: Pool | None | Literal["tables"],
) -> None:
    """The test above can fail: candidates that write on each other's pages, or begin a chunk on
    pages that nothing was copied to."""
    limits = limits_with(candidates=2, chunk=5)
    crowd = Crowd(3, limits, dialogues=8, span_ns=3000 * MS)
    answers = answered(limits, 400, [m.request for m in crowd.messages], Careless, fault)[0]
    pairs = zip(answers, crowd.messages, strict=True)
    assert all(answer.tokens == message.answer for answer, message in pairs) == (fault is None)


def answered(
    limits: Limits, blocks: int, requests: Sequence[Request], kind: Any, *options: Any
) -> tuple[list[Answer], list[Event], Engine]:
    """These requests, one every 100 ms, on an engine with that executor."""
    clock, log = FakeClock(), list[Event]()
    executor = kind(*options, clock, constant_curves())
    sizes = Sizes(blocks, reserve_pages(limits), CONTEXT, len(requests))
    engine = Engine(
        limits, constant_curves(), sizes, executor, clock, log.append, ValueScorer(executor)
    )
    executor.engine = engine
    executor.prepare(engine)
    answers = [engine.door.submit(r, at=100 * MS * n) for n, r in enumerate(requests)]
    if isinstance(executor, Fickle):
        executor.answers, executor.draw = answers, Random(8)
    engine.door.close()
    engine.run()
    engine.mirror.check()
    return answers, log, engine


def random_requests(count: int, seed: int, stops: int) -> list[Request]:
    """Two definitions, texts of their own behind them, and words that end an answer."""
    draw, requests = Random(seed), []
    definitions = [[draw.randrange(VOCABULARY) for _ in range(n)] for n in (16, 25)]
    for n in range(count):
        head = draw.randrange(2)
        own = [draw.randrange(VOCABULARY) for _ in range(draw.randrange(1, 40))]
        tokens = [*definitions[head], *own]
        whole = len(definitions[head]) // 4
        path = Piece(head, whole), Piece(10 + n, len(tokens) // 4 - whole)
        ends = frozenset(draw.sample(range(VOCABULARY), stops))
        text = np.array(tokens, np.int32)
        requests.append(Request(text, draw.randrange(1, 60), path, ends, 1.0, n))
    return requests


@pytest.mark.parametrize("windows", [0, 14])
def test_an_answer_ends_where_the_best_candidate_does(windows: int) -> None:
    """Some candidates come to an end token before the chunk's end: their rows stop, and they are
    judged where they ended. Under preemption too."""
    limits = limits_with(
        candidates=3, chunk=6, windows=windows, retain=2 * bool(windows), max_seqs=5
    )
    requests = random_requests(60, 4, stops=3)
    answers, log, _ = answered(limits, 50, requests, CheckedExecutor)
    cuts = {n: [0] for n in range(len(requests))}
    for event in log:
        if event.what == "preempt":
            cuts[event.request].append(cuts[event.request][-1] + event.value)
    for n, (answer, request) in enumerate(zip(answers, requests, strict=True)):
        assert answer.tokens == searched(request, limits.window, 3, 6, cuts[n])
        assert reason_of(answer) == ("stop" if answer.tokens[-1] in request.stops else "length")
    assert Counter(event.what for event in log)["preempt"] > 5
    assert Counter(map(reason_of, answers))["stop"] > 20
    assert len({len(answer.tokens) % 6 for answer in answers}) > 4


def test_who_is_cancelled_leaves_nothing_behind_and_has_what_was_chosen() -> None:
    """While waiting, prefilled, decoding, preempted. Whom nobody cancels is answered right, also
    behind blocks that a cancelled answer has left in the cache."""
    limits = limits_with(candidates=3, chunk=5, token_budget=24)
    crowd = Crowd(11, limits, dialogues=40, span_ns=8000 * MS)
    blocks = largest(crowd.messages, limits.shift) + limits.extra + 25
    for _ in range(2):  # who is preempted when hangs on no word of the answers
        requests = [message.request for message in crowd.messages]
        answers, log, engine = answered(limits, blocks, requests, Fickle)
        crowd = crowd.with_cuts(cuts_of(log, crowd.messages))
    seen = Counter[tuple[bool, bool, bool]]()
    for answer, message in zip(answers, crowd.messages, strict=True):
        if answer.state is State.DONE:
            assert answer.tokens == message.answer
        else:
            assert answer.state is State.CANCELLED
            assert answer.tokens == message.answer[: len(answer.tokens)]
            seen[answer.admitted >= 0, bool(answer.tokens), bool(answer.preempted)] += 1
    assert set(seen) >= {(False, False, False), (True, False, False), (True, True, False)}
    assert engine.world.engine.replicas[0].load == 0
    assert any(answer.preempted for answer in answers)


class Listing:
    """Counts tokens up, a thousand apart for each candidate."""

    def __init__(self) -> None:
        self.plans: list[StepPlan] = []

    def run(self, plan: StepPlan) -> list[int]:
        self.plans.append(plan)
        seeds: dict[tuple[int, int], int] = {}
        firsts = [(c.slot, d) for c in plan.chunks for d in c.draws]
        rows = [(d.slot % 4, d.draw) for d in plan.decodes] + firsts
        for slot, draw in rows:
            seeds.setdefault((slot, draw.seed), len([1 for s, _ in seeds if s == slot]))
        return [1000 * seeds[slot, draw.seed] + draw.made for slot, draw in rows]

    def copy(self, copies: Sequence[Copy]) -> None:
        pass


class Strict:
    """Chooses what it is told; marks are places."""

    def __init__(self, *choices: Choice) -> None:
        self.choices = list(choices)
        self.marked: list[list[int]] = []

    def marks(self, rows: Sequence[int]) -> Sequence[int]:
        self.marked.append(list(rows))
        return rows

    def choose(self, groups: Sequence[Sequence[int]]) -> list[Choice]:
        return [self.choices.pop(0) for _ in groups]


def small(scorer: Strict | None, **changes: Any) -> Engine:
    limits = limits_with(**({"candidates": 3, "chunk": 4} | changes))
    sizes = Sizes(60, reserve_pages(limits), 64, 4)
    return Engine(limits, constant_curves(), sizes, Listing(), FakeClock(), scorer=scorer)


def ask(most: int, **changes: Any) -> Request:
    return replace(Request(np.arange(6, dtype=np.int32), most, temperature=1.0), **changes)


def said_by(scorer: Strict, request: Request) -> tuple[Answer, list[int]]:
    """The answer, and how long it was each time that the client was told."""
    engine, told = small(scorer), list[int]()
    answer = engine.door.submit(request, lambda answer: told.append(len(answer.tokens)))
    engine.door.close()
    engine.run()
    engine.mirror.check()
    assert len(engine.mirror.pages.free) + sum(map(len, engine.mirror.pages.streams.values())) == 60
    return answer, told


def test_a_chunk_comes_at_once_and_is_the_winners() -> None:
    scorer = Strict(Choice(1, False), Choice(0, False), Choice(2, False))
    answer, told = said_by(scorer, ask(10))
    assert answer.tokens == [1000, 1001, 1002, 1003, 4, 5, 6, 7, 2008, 2009]
    assert told == [4, 8, 10, 10]
    assert scorer.marked == [[0, 1, 2]] * 3
    assert not answer.flagged


def test_when_no_candidate_passes_the_answer_ends() -> None:
    """With the best of them, or before them, and says so."""
    answer, told = said_by(Strict(Choice(1, False), Choice(2, True)), ask(30))
    assert answer.tokens[4:] == [2004, 2005, 2006, 2007]
    assert told == [4, 8, 8]
    refused, _ = said_by(Strict(Choice(1, False), Choice(None, True)), ask(30))
    assert refused.tokens == [1000, 1001, 1002, 1003]
    nothing, _ = said_by(Strict(Choice(None, True)), ask(30))
    assert nothing.tokens == []
    for each in (answer, refused, nothing):
        assert each.state is State.DONE
        assert reason_of(each) == "content_filter"


def test_whom_all_candidates_fail_when_it_is_preempted_ends_there() -> None:
    """Two messages of five blocks and four for tails each, and a block too few."""
    scorer = Strict(*[Choice(1, False)] * 4, Choice(2, True), *[Choice(0, False)] * 2)
    limits = limits_with(candidates=3, chunk=4, prefix_cache=0, retain=0)
    sizes = Sizes(2 * (5 + 4) - 1, reserve_pages(limits), 64, 4)
    log = list[Event]()
    engine = Engine(
        limits, constant_curves(), sizes, Listing(), FakeClock(), log.append, scorer=scorer
    )
    answers = [engine.door.submit(ask(14)) for _ in range(2)]
    engine.door.close()
    engine.run()
    engine.mirror.check()
    assert [event.value for event in log if event.what == "preempt"] == [11]
    assert [answer.flagged for answer in answers] == [False, True]
    assert answers[1].tokens == [*range(1000, 1008), 2008, 2009, 2010]
    assert len(answers[0].tokens) == 14


def test_greedy_candidates_are_refused() -> None:
    with pytest.raises(RefusedError, match="temperature: .* 3 greedy candidates are the same"):
        small(Strict()).door.submit(ask(3, temperature=0.0))


def test_memory_for_the_other_candidates_is_not_the_answers() -> None:
    """60 blocks, of which two candidates take two each."""
    engine = small(Strict())
    assert engine.door.bounds.blocks == 56


def test_candidates_need_a_scorer_and_their_blocks() -> None:
    with pytest.raises(ValueError, match="scorer"):
        small(None)
    limits = limits_with(candidates=3, chunk=4)._replace(extra=3)
    with pytest.raises(ValueError, match="extra: is 3, candidates need 4 blocks"):
        Engine(limits, constant_curves(), Sizes(60, 50, 64, 4), Listing(), FakeClock())


def test_the_reserve_has_room_for_the_candidates_local_pages() -> None:
    one, three = limits_with(), limits_with(candidates=3, chunk=4)
    assert reserve_pages(three) == reserve_pages(one) + 8 * (4 + 1)
