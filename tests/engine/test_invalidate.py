"""An edit makes caches forget a character's old versions, in both tiers, and nothing else."""

from blocks import Path
from tree_state import all_blocks, small_engine, windows_by_tier
from workloads import write_request

from kaiju_sim.engine.layout import Engine
from kaiju_sim.engine.policy.kv import memory as kv
from kaiju_sim.fleet.invalidate import forget_versions
from kaiju_sim.fleet.messages.prompts import stream_of

OLD, NEW = 3 * 64 + 5, 4 * 64 + 5
"""Head keys of versions 3 and 4 on day 5."""


def prompt(character: int, key: int, dialogue: int) -> tuple[Path, int]:
    """The path and the tokens of a dialogue's prompt: a head of two blocks, a history of one."""
    head, history = stream_of(0, character, key), stream_of(2, dialogue, 0)
    return [(head, 2), (stream_of(1, dialogue, 0), 0), (history, 0), (history, 1)], 13


def serve(e: Engine, k: int, slot: int, message: tuple[Path, int], *, to_its_end: bool) -> None:
    """A message on replica k, computed, and over if it is served to its end."""
    write_request(e, slot, *message)
    assert kv.admit(e, k, slot, 0)
    kv.end_prefill(e, k, slot)
    if to_its_end:
        kv.leave(e, k, slot, 14, int(e.requests[slot].blocks))


def heads(e: Engine, k: int) -> set[int]:
    """Streams of heads that replica k has blocks of, in any tier, held or not."""
    far, idle, holders = all_blocks(e)[k]
    return {stream for stream, _ in [*far, *idle, *holders] if stream % 4 == 0}


def test_old_versions_go_and_all_else_stays() -> None:
    e = small_engine(blocks=12, replicas=2, host=(30, 0))
    for k in range(2):
        for dialogue, (character, key) in enumerate([(7, OLD), (7, NEW), (8, OLD), (7, OLD + 1)]):
            serve(e, k, dialogue, prompt(character, key, 10 * k + dialogue), to_its_end=True)
        assert e.caches[k].host_free < 30
    e.replicas["blocked"] = 1
    before = [len(idle) + len(far) for far, idle, _ in all_blocks(e)]
    assert forget_versions(e, 7, 4) == 8
    after = [len(idle) + len(far) for far, idle, _ in all_blocks(e)]
    assert [b - a for b, a in zip(before, after, strict=True)] == [4, 4]
    for k in range(2):
        assert heads(e, k) == {stream_of(0, 7, NEW), stream_of(0, 8, OLD)}
        assert e.caches[k].free + e.caches[k].idle == 12
    assert not e.replicas["blocked"].any()
    assert forget_versions(e, 7, 4) == 0


def test_what_a_message_holds_stays_until_it_leaves() -> None:
    e = small_engine(blocks=30, replicas=1)
    message = prompt(7, OLD, 1)
    serve(e, 0, 0, message, to_its_end=False)
    assert forget_versions(e, 7, 4) == 0
    kv.leave(e, 0, 0, 14, int(e.requests[0].blocks))
    assert heads(e, 0) == {stream_of(0, 7, OLD)}
    assert forget_versions(e, 7, 4) == 2
    assert heads(e, 0) == set()


def test_a_message_that_was_under_way_computes_the_old_head_anew() -> None:
    """Its history, which is still there, is adopted when it has computed what comes before it."""
    e = small_engine(blocks=30, replicas=1)
    message = prompt(7, OLD, 1)
    serve(e, 0, 0, message, to_its_end=True)
    forget_versions(e, 7, 4)
    serve(e, 0, 1, message, to_its_end=True)
    assert e.requests[1].hit == 0
    serve(e, 0, 2, message, to_its_end=True)
    assert e.requests[2].hit == 12
    assert len(all_blocks(e)[0][1]) == 3


def test_windows_of_old_versions_go_too() -> None:
    e = small_engine(
        blocks=60, windows=3, retain=True, replicas=1, host=(9, 9), cache_generated=True
    )
    for dialogue, key in enumerate((OLD, NEW)):
        serve(e, 0, dialogue, prompt(7, key, dialogue), to_its_end=True)
    forget_versions(e, 7, 4)
    far, near = windows_by_tier(e)[0]
    kept = {stream for (stream, _), _ in far + near if stream % 4 == 0}
    assert kept == {stream_of(0, 7, NEW)}
    c = e.caches[0]
    assert c.windows_free + c.windows_kept == 3
