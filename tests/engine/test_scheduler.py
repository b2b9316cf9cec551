"""Order, size and bounds: what the scheduler decides, on engines in states set for it."""

from random import Random

import pytest
from tree_state import as_records, small_engine
from workloads import write_request

from kaiju_sim.catalog.gpus import find_gpu
from kaiju_sim.catalog.models import find_model
from kaiju_sim.engine.layout import NEVER, TTFT_AWARE, Engine
from kaiju_sim.engine.limits import Limits
from kaiju_sim.engine.make import make_engine
from kaiju_sim.engine.policy import batching, pacing, queues
from kaiju_sim.engine.policy.kv import memory as kv
from kaiju_sim.steptime.curves import Curves
from kaiju_sim.steptime.roofline import Rank, roofline_curves, usual_efficiency

MS = 1_000_000
BUDGET, SEQS = 512, 64


@pytest.fixture(scope="module")
def curves() -> Curves:
    """Step time of 13B on one H100, by roofline."""
    rank = Rank(find_gpu("H100-80GB"), find_model("kaiju-13b"), 1, usual_efficiency(0.66, 0.8))
    return roofline_curves(rank, 0.001, BUDGET + SEQS, SEQS)


def engine_with(**changes: int) -> Engine:
    """An engine with room for everything and these limits."""
    e = small_engine(blocks=4000, requests=80)
    return e._replace(limits=e.limits._replace(prefix_cache=0, **changes))


def aware(curves: Curves, **changes: int) -> Engine:
    """A TTFT-aware engine on real curves."""
    limits: Limits = engine_with().limits._replace(
        policy=TTFT_AWARE, token_budget=BUDGET, max_seqs=SEQS, priority=2, window=1024, **changes
    )
    return as_records(make_engine(limits, curves, 100_000, requests=80, nodes=64))


def arrive(e: Engine, q: int, prompt: int, arrival: int = 0, tier: int = 1) -> None:
    """Message q comes to replica 0."""
    write_request(e, q, [], prompt)
    e.requests[q].arrival, e.requests[q].tier = arrival, tier
    e.replicas[0].load += 1
    queues.stand_last(e.requests, e.replicas[0], q, queues.in_low_line(e, q))


def line(e: Engine, q: int) -> list[int]:
    """The messages from q on."""
    found = []
    while q >= 0:
        found.append(q)
        q = int(e.requests[q].next)
    return found


def admitted(e: Engine) -> list[int]:
    """Messages in the order of their admission, one step for each."""
    order = []
    while (q := queues.next_waiting(e, e.replicas[0])) >= 0:
        queues.pop_waiting(e, 0, q, 0)
        order.append(q)
    return order


@pytest.mark.parametrize(
    ("priority", "order"),
    [(0, [0, 1, 2, 3, 4]), (1, [1, 3, 0, 2, 4]), (2, [0, 1, 3, 2, 4])],
)
def test_who_is_admitted_first(priority: int, order: list[int]) -> None:
    """Free messages arrive at 0, 22, 40 ms with 100 ms to go, paid ones at 10, 30 with 91."""
    e = engine_with(priority=priority, ttft_ns=100 * MS, paid_ttft_ns=91 * MS)
    for q, (at, tier) in enumerate([(0, 1), (10, 0), (22, 1), (30, 0), (40, 1)]):
        arrive(e, q, 5, at * MS, tier)
    assert admitted(e) == order


def test_a_preempted_message_goes_to_the_head_of_its_own_line() -> None:
    e = engine_with(priority=1)
    for q, tier in enumerate((1, 0, 1, 0)):
        arrive(e, q, 5, q, tier)
    queues.pop_waiting(e, 0, 1, 0)
    queues.pop_waiting(e, 0, 0, 0)
    batching.requeue(e, 0, 1, 2)
    batching.requeue(e, 0, 0, 2)
    r = e.replicas[0]
    assert (line(e, r.wait), line(e, r.low)) == ([1, 3], [0, 2])
    assert (r.wait_tail, r.low_tail) == (3, 2)


def test_a_paid_message_gets_past_a_free_one_that_does_not_fit() -> None:
    """A free message waits for memory; a paid one that comes later and fits is admitted."""
    e = engine_with(priority=1)
    e.caches[0].free = 3
    arrive(e, 0, 40, tier=1)
    batching.form_batch(e, 0, 0)
    assert e.replicas[0].blocked == 1
    arrive(e, 1, 5, tier=0)
    e.replicas[0].blocked = 0  # as the loop does at an arrival
    assert batching.form_batch(e, 0, 1).rows == 5
    assert e.replicas[0].wait < 0 <= e.replicas[0].low


def test_the_last_free_message_makes_room_for_a_paid_one() -> None:
    e = engine_with(priority=1, queue_limit=3)
    r = e.replicas[0]
    for q, tier in enumerate((1, 0, 1)):
        arrive(e, q, 5, q, tier)
    e.requests[5].tier, e.requests[6].tier = 0, 1
    assert queues.full(e, 3)
    assert not queues.full(e, 2)
    assert queues.who_goes(e, r, 6) == 6
    assert queues.who_goes(e, r, 5) == 2
    queues.drop_last(e.requests, r)
    assert line(e, r.low) == [0]
    queues.drop_last(e.requests, r)
    assert r.low == -1
    assert queues.who_goes(e, r, 5) == 5


def test_a_message_that_has_begun_to_answer_is_not_turned_away() -> None:
    e = engine_with(priority=1, queue_limit=1, shed_late=1, ttft_ns=10)
    arrive(e, 0, 5, tier=1)
    e.requests[0].preempted = 1
    e.requests[5].tier = 0
    assert queues.who_goes(e, e.replicas[0], 5) == 5
    assert not pacing.too_late(e, e.replicas[0], 0, 10**12, pacing.no_work())


def test_who_cannot_be_in_time_is_shed_and_who_can_is_not(curves: Curves) -> None:
    """The step that a message would join ends at t + its predicted time at the earliest."""
    e = aware(curves, shed_late=1, ttft_ns=50 * MS)
    r = e.replicas[0]
    step = pacing.predicted_ns(e, r, pacing.and_chunk(e, r, pacing.no_work(), 0, 1))
    for q, arrival in enumerate((0, 1, MS)):
        arrive(e, q, 5, arrival, tier=1)
    t = 50 * MS - step + 1
    assert batching.form_batch(e, 0, t).rows == 10
    assert line(e, r.shed) == [0]
    assert line(e, r.pre) == [1, 2]
    assert (r.load, r.turned) == (2, 1)


def test_prefills_are_served_by_deadline_and_a_later_one_waits(curves: Curves) -> None:
    """A paid message with less time passes a free one under way, and its list is in that order."""
    e = aware(curves, ttft_ns=1000 * MS, paid_ttft_ns=100 * MS)
    arrive(e, 0, 3 * BUDGET, 0, tier=1)
    assert batching.form_batch(e, 0, 0).rows == BUDGET
    e.requests[0].todo -= BUDGET
    e.requests[0].chunk = 0
    arrive(e, 1, 100, 10 * MS, tier=0)
    arrive(e, 2, 100, 11 * MS, tier=1)
    batch = batching.form_batch(e, 0, 12 * MS)
    assert line(e, e.replicas[0].pre) == [1, 0]
    assert [int(e.requests[q].chunk) for q in (0, 1, 2)] == [BUDGET - 100, 100, 0]
    assert batch.rows == BUDGET
    assert line(e, e.replicas[0].low) == [2]


def random_state(draw: Random, curves: Curves, **changes: int) -> Engine:
    """A replica that decodes, with prefills under way and messages that wait."""
    e = aware(curves, ttft_ns=draw.choice([50, 300, 2000]) * MS, **changes)
    r = e.replicas[0]
    r.running = draw.randrange(0, SEQS - 8)
    r.load = r.running
    r.context = sum(draw.randrange(1, 8000) for _ in range(r.running))
    r.window = min(int(r.context), int(r.running) * 1024)
    for q in range(draw.randrange(12)):
        arrive(e, q, draw.choice([5, 200, 3000]), q * draw.randrange(1, 9) * MS, draw.randrange(2))
    return e


def test_no_step_is_predicted_over_the_objective_and_none_could_be_larger(curves: Curves) -> None:
    """Random states, nothing banked: the chunk is the largest that stays within TPOT."""
    draw = Random(3)
    held_back = filled = 0
    for _ in range(400):
        e = random_state(draw, curves, tpot_ns=draw.randrange(6_000_000, 18_000_000))
        r = e.replicas[0]
        batch = batching.form_batch(e, 0, 50 * MS)
        took = pacing.predicted_ns(e, r, batch)
        if r.running == 0 or batch.rows == 0:
            continue
        assert took <= 0.95 * e.limits.tpot_ns
        todo = [q for q in line(e, r.pre) if e.requests[q].chunk < e.requests[q].todo]
        if todo and batch.rows + r.running < BUDGET:
            held_back += 1
            v = e.requests[todo[0]]
            before = int(v.prompt - v.todo + v.chunk)
            longer = pacing.predicted_ns(e, r, pacing.and_chunk(e, r, batch, before, 1))
            assert longer > 0.95 * e.limits.tpot_ns - 1
        filled += batch.rows + r.running == BUDGET
    assert min(held_back, filled) > 20


def test_decodes_that_take_the_whole_objective_hold_prefill_back(curves: Curves) -> None:
    e = aware(curves, tpot_ns=3 * MS, ttft_ns=100 * MS)
    e.replicas[0].running = e.replicas[0].load = 30
    arrive(e, 0, 100)
    assert batching.form_batch(e, 0, 0) == batching.Batch(0, 0, 0, 0, 0, 30)
    e.replicas[0].running = 0
    assert batching.form_batch(e, 0, 0).rows == 100


def test_the_bank_holds_what_was_saved_up_to_four_paces(curves: Curves) -> None:
    e = aware(curves, tpot_ns=20 * MS)
    r = e.replicas[0]
    for steps, took_ms, bank_ms in ((3, 50, 7), (1, 25, 1), (100, 700, 4 * 19), (1, 99, 0)):
        r.decode_steps += steps
        r.decode_ns += took_ms * MS
        pacing.settle_bank(e, r)
        assert r.bank == bank_ms * MS


@pytest.mark.parametrize(("ttft_ms", "in_haste"), [(5, False), (26, True), (2000, False)])
def test_haste_only_where_it_helps(curves: Curves, ttft_ms: int, in_haste: bool) -> None:
    """700 tokens beside 30 decodes: lost in any case, in time only in haste, in time anyway."""
    e = aware(curves, tpot_ns=7 * MS, ttft_ns=ttft_ms * MS)
    r = e.replicas[0]
    r.running = r.load = 30
    r.decode_steps, r.decode_ns = 10, 20 * MS
    arrive(e, 0, 700)
    queues.pop_waiting(e, 0, 0, 0)
    assert kv.admit(e, 0, 0, 0)
    batching.start_prefill(e, 0, 0, -1)
    assert (pacing.longest_step(e, r, 0, BUDGET - 30) > 7 * MS) == in_haste


def test_without_a_time_to_first_token_objective_there_is_no_haste(curves: Curves) -> None:
    e = aware(curves, tpot_ns=3 * MS, ttft_ns=NEVER, paid_ttft_ns=NEVER)
    r = e.replicas[0]
    r.running = r.load = 30
    r.bank = MS
    arrive(e, 0, 700)
    assert pacing.longest_step(e, r, 0, BUDGET - 30) <= 4 * MS
