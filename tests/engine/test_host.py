"""Host memory: what waits for the link, for how long, and who goes on meanwhile.

The link of `small_engine` takes 10 ns to load a block and 100 a window, and 20 and 200 to store
them.
"""

from blocks import Path
from tree_state import small_engine
from workloads import write_request

from kaiju_sim.engine.intake import enqueue
from kaiju_sim.engine.layout import NEVER, Engine
from kaiju_sim.engine.make import make_world
from kaiju_sim.engine.policy import batching
from kaiju_sim.engine.policy.kv import host, prefix
from kaiju_sim.engine.policy.kv import memory as kv


def write(e: Engine, slot: int, stream: int, blocks: int) -> None:
    """A message with so many blocks of a stream, and four tokens more."""
    path: Path = [(stream, blocks)]
    write_request(e, slot, path, 4 * blocks + 4)


def serve(e: Engine, k: int, stream: int, blocks: int) -> None:
    """Such a message alone on replica k, all its life, at time 0."""
    write(e, 0, stream, blocks)
    assert kv.admit(e, k, 0, 0)
    kv.end_prefill(e, k, 0)
    context = 4 * blocks + 5
    kv.leave(e, k, 0, context, int(e.requests[0].blocks))


def filled(replicas: int = 2, link_replicas: int = 1) -> Engine:
    """Replicas of ten blocks: two free, streams 3 and 4 in HBM, five blocks of 1 and 2 in host."""
    e = small_engine(blocks=10, replicas=replicas, host=(20, 0), link_replicas=link_replicas)
    for k in range(replicas):
        for stream in (1, 2, 3):
            serve(e, k, stream, 5)
        serve(e, k, 4, 3)
        assert (e.caches[k].free, e.caches[k].idle) == (2, 8)
        assert e.caches[k].host - e.caches[k].host_free == 10
    for name in ("in_free", "out_free", "in_busy", "out_busy"):
        e.links[name] = 0
    e.caches["out_blocks"] = 0
    return e


def test_a_load_takes_its_time_on_the_link_and_so_does_what_makes_room() -> None:
    e = filled()
    write(e, 0, 1, 5)
    assert kv.admit(e, 0, 0, 1000)
    assert (e.requests[0].hit, e.requests[0].cached_host) == (20, 20)
    assert (e.links[0].in_busy, e.links[0].out_busy) == (50, 100)  # five in; seven needed, two free
    assert e.requests[0].ready == 1100


def test_loads_of_replicas_that_share_a_link_queue() -> None:
    together, apart = filled(2, link_replicas=2), filled(2, link_replicas=1)
    ready = []
    for e in (together, apart):
        e.caches["free"] = 7  # no demotion: loads alone
        e.caches["idle"] = 0
        for k, at in ((0, 1000), (1, 1010)):
            write(e, k, 1, 5)
            assert kv.admit(e, k, k, at)
        ready.append([int(e.requests[k].ready) for k in range(2)])
    assert ready == [[1050, 1100], [1050, 1060]]


def test_what_decoding_pushes_out_delays_the_next_admission_only() -> None:
    e = filled()
    prefix.take(e.caches[0], e.nodes, e.node_index, e.node_pool[0], 5)
    batching.form_batch(e, 0, 1000)  # three of them are on the link now
    assert (e.links[0].out_free, e.caches[0].out_blocks) == (1060, 0)
    write(e, 0, 9, 1)
    assert kv.admit(e, 0, 0, 1001)
    assert e.requests[0].ready == 1120


def test_a_prefill_that_waits_for_its_load_is_passed_over() -> None:
    e = filled()
    e.caches["free"] = 20
    for slot, stream in enumerate((1, 8)):
        write(e, slot, stream, 5)
        e.requests[slot].next = slot + 1 if slot == 0 else -1
    r = e.replicas[0]
    r.wait, r.wait_tail = 0, 1
    batch = batching.form_batch(e, 0, 1000)
    assert [int(e.requests[q].chunk) for q in range(2)] == [0, 24]
    assert (batch.rows, r.filling) == (24, 2)
    assert batching.wake_time(e, 0) == 1000
    assert not batching.computed(e, 0, 0, -1)
    assert batching.computed(e, 0, 1, 0)
    assert (r.pre, r.pre_tail, r.filling) == (0, 0, 1)
    assert batching.form_batch(e, 0, 1049).rows == 0
    assert batching.wake_time(e, 0) == 1050
    assert batching.form_batch(e, 0, 1050).rows == 4


def test_an_arrival_wakes_a_replica_that_sleeps_until_a_load_is_done() -> None:
    """Its wake-up call is moved forward, never back; a replica in a step is left alone."""
    e = filled()
    r = e.replicas[0]
    world = make_world(e)
    cases = [
        (NEVER, 5000, 1000, 1000),
        (NEVER, 900, 1000, 900),
        (NEVER, -1, 900, 900),
        (7, -1, 5, -1),
    ]
    for slot, (end, pending, arrival, then) in enumerate(cases):
        write(e, slot, 9, 1)
        e.requests[slot].arrival = arrival
        r.end, r.pending = end, pending
        enqueue(world, 0, slot)
        assert r.pending == then


def test_a_window_in_host_memory_is_loaded_too() -> None:
    e = small_engine(blocks=60, windows=2, retain=True, cache_generated=True, host=(9, 9))
    heads: list[Path] = [[(s, 2), (s + 10, 0), (s + 20, 0), (s + 30, 2)] for s in (1, 2, 3)]
    for at, path in enumerate(heads):
        write_request(e, 0, list(path), 17)
        assert kv.admit(e, 0, 0, 1000 * at)
        kv.end_prefill(e, 0, 0)
        kv.leave(e, 0, 0, 18, int(e.requests[0].blocks))
    host.flush(e, 0, 3000)
    write_request(e, 0, heads[0], 17)
    assert kv.admit(e, 0, 0, 9000)
    assert (e.requests[0].hit, e.requests[0].cached_host) == (16, 0)
    assert e.caches[0].windows_loaded == 1
    assert e.requests[0].ready == 9000 + 200  # one window in, one out to make room for it
