"""Prompt assembly: [date | definition | persona | history], history cut oldest first in steps.

A path has three streams, and where users swipe a fourth one, the answer's. The head (date and
definition) is shared by all dialogues with a character's version on one day; persona and history
belong to the dialogue. A cut, or a change of what stands before, moves every later token, so it
starts a new stream: hit rate is an outcome.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kaiju_sim import rng
from kaiju_sim.engine.layout import Arr, Engine, Rec
from kaiju_sim.workload.habits import ask_key, heard, rejects
from kaiju_sim.workload.laws import draw_count
from kaiju_sim.workload.sessions import Users

HEAD_STREAM, PERSONA_STREAM, HISTORY_STREAM, TRACE_STREAM = range(4)
ASIDE_STREAM = TRACE_STREAM
"""Rejected answers, each a stream of its own; a replay has none, dialogues have no traces."""
DAY_NS = 86_400_000_000_000


class Prompts(NamedTuple):
    """What prompts are made of in one cell."""

    date_tokens: int
    persona_tokens: int
    limit: int
    truncation_step: int
    max_context: int
    pin_session: int
    asides: int
    """Whether paths have a piece for the answer, which may be thrown away."""
    day_offset_ns: int
    definition: NDArray[np.int32]
    """Tokens of each character's definition."""
    row_prompt: Arr
    row_output: Arr
    row_session: Arr
    row_character: Arr
    run_offsets: Arr
    run_stream: Arr
    run_blocks: Arr
    """Replay: lengths, keys and runs of each row; blocks are in trace blocks."""
    row_shift: int
    """log2 of tokens of a trace block."""


def stream_of(kind: int, who: int, epoch: int) -> int:
    """Identity of a stream: kind, owner (under 2**28) and what epoch of it (20 bits)."""
    return ((who << 20) | (epoch & 0xFFFFF)) * 4 + kind


def dialogue_key(p: Prompts, u: Users, s: int) -> int:
    """What names session s's dialogue: its number, or the trace's key."""
    v = u.sessions[s]
    return int(p.row_session[int(v.id)]) if u.replay else int(v.id)


def is_paid(p: Prompts, u: Users, s: int, share: float) -> bool:
    """Whether session s's dialogue is of the paid tier, a `share` of all."""
    return rng.uniform(u.seed, rng.TIER, dialogue_key(p, u, s), 0) < share


def surplus(total: int, limit: int, step: int) -> int:
    """Tokens to cut: the smallest multiple of `step` that brings `total` under `limit`."""
    return 0 if total <= limit else (total - limit + step - 1) // step * step


def head_key(p: Prompts, u: Users, session: Rec, now: int) -> int:
    """Version and day of the shared head of a session's prompt."""
    version = int(session.version) if p.pin_session else int(u.versions[session.character])
    day = (now + p.day_offset_ns) // DAY_NS if p.date_tokens > 0 else 0
    return version % 16384 * 64 + day % 64


def cut_history(p: Prompts, session: Rec, others: int) -> None:
    """Cut the session's history in steps if it and `others` tokens exceed the limit."""
    cut = surplus(others + int(session.history), p.limit, p.truncation_step)
    if cut > 0:
        session.history = max(0, int(session.history) - cut)
        session.epoch += 1


def compose(e: Engine, p: Prompts, u: Users, s: int, q: int) -> int:
    """Write the next prompt of session s into request q; returns the answer's length in tokens."""
    v = u.sessions[s]
    key = head_key(p, u, v, int(v.at))
    if v.head_key >= 0 and v.head_key != key:
        v.revision += 1
        v.epoch += 1
    v.head_key = key
    head = p.date_tokens + int(p.definition[v.character])
    who, turn = int(v.id), int(v.turn)
    said = 0
    if v.swipe + v.attempt == 0:  # else the same prompt once more: it is in the history
        said = draw_count(u.laws, 2, rng.uniform(u.seed, rng.USER_TOKENS, who, turn))
    cut_history(p, v, head + p.persona_tokens + said)
    v.history += said
    prompt = max(1, head + p.persona_tokens + int(v.history))
    fill_request(e, s, q, int(v.at), prompt)
    if e.limits.prefix_cache:
        write_path(e, p, u, v, q, head, prompt)
    return answer_tokens(u, v)


def answer_tokens(u: Users, session: Rec) -> int:
    """Tokens of the coming answer, cut where the user leaves: the engine does not know it."""
    who, turn, swipe = int(session.id), int(session.turn), int(session.swipe)
    drawn = rng.uniform(u.seed, rng.OUTPUT_TOKENS, who, ask_key(turn, swipe))
    return heard(u.habits, u.seed, who, turn, swipe, max(1, draw_count(u.laws, 3, drawn)))


def compose_past(e: Engine, p: Prompts, u: Users, s: int, q: int) -> int:
    """Write what session s has said and heard so far into request q; returns its tokens."""
    v = u.sessions[s]
    v.head_key = head_key(p, u, v, 0)
    head = p.date_tokens + int(p.definition[v.character])
    prompt = max(1, min(p.max_context - 1, head + p.persona_tokens + int(v.history)))
    fill_request(e, s, q, 0, prompt)
    if e.limits.prefix_cache:
        write_path(e, p, u, v, q, head, prompt)
    return prompt


def fill_request(e: Engine, s: int, q: int, at: int, prompt: int) -> None:
    """A fresh request record with an empty path."""
    v = e.requests[q]
    v.arrival = at
    v.admit = -1
    v.number = 0
    v.session = s
    v.prompt = prompt
    v.todo = prompt
    v.chunk = 0
    v.hit = 0
    v.cached = 0
    v.cached_host = 0
    v.named = 0
    v.blocks = 0
    v.next = -1
    v.preempted = 0
    v.replica = -1
    v.tier = 1
    for i in range(e.limits.stride):
        e.segments[q * e.limits.stride + i].n = 0


def copy_request(e: Engine, q: int, c: int) -> None:
    """Write the prompt of request q into record c, as a shadow: of no session."""
    fill_request(e, -1, c, int(e.requests[q].arrival), int(e.requests[q].prompt))
    for i in range(e.limits.stride):
        e.segments[c * e.limits.stride + i].stream = e.segments[q * e.limits.stride + i].stream
        e.segments[c * e.limits.stride + i].n = e.segments[q * e.limits.stride + i].n


def write_path(
    e: Engine, p: Prompts, u: Users, session: Rec, q: int, head: int, prompt: int
) -> None:
    """Path of a dialogue's prompt: whole blocks of head, persona and history."""
    lo = q * e.limits.stride
    shift = e.limits.shift
    head_blocks = head >> shift
    before = (head + p.persona_tokens) >> shift
    shared = e.segments[lo]
    shared.stream = stream_of(0, int(session.character), int(session.head_key))
    shared.n = head_blocks
    shared.node = -1
    persona = e.segments[lo + 1]
    persona.stream = stream_of(1, int(session.id), int(session.revision))
    persona.n = before - head_blocks
    persona.node = -1
    history = e.segments[lo + 2]
    history.stream = stream_of(2, int(session.id), int(session.epoch))
    history.n = (prompt >> shift) - before
    history.node = session.node
    if p.asides:
        name_answer(e, u, session, q)


def name_answer(e: Engine, u: Users, session: Rec, q: int) -> None:
    """The last piece of a path is where the answer's blocks will go.

    An answer that will be rejected gets a stream of its own, so that no later prompt hits it; an
    accepted one goes on in the history. Policy sees the names only.
    """
    history = e.segments[q * e.limits.stride + 2]
    answer = e.segments[q * e.limits.stride + 3]
    who, turn, swipe = int(session.id), int(session.turn), int(session.swipe)
    answer.n = 0
    answer.node = -1
    answer.stream = stream_of(3, who, turn * 128 + swipe)
    if rejects(u.habits, u.seed, who, turn, swipe):
        return
    answer.stream = history.stream
    answer.n = history.n
    answer.node = history.node
    history.n = 0


def lay_aside(e: Engine, u: Users, session: Rec, q: int) -> None:
    """Message q's answer will be taken back: its blocks are no part of the history."""
    history = e.segments[q * e.limits.stride + 2]
    answer = e.segments[q * e.limits.stride + 3]
    history.n += answer.n
    answer.n = 0
    answer.node = -1
    answer.stream = stream_of(3, int(session.id), int(session.turn) * 128 + int(session.swipe))


def compose_row(e: Engine, p: Prompts, u: Users, s: int, q: int) -> int:
    """Write a trace row into request q; returns its answer's length.

    Runs are placed at the end of the path; ids of whole trace blocks expand to KV blocks.
    """
    v = u.sessions[s]
    row = int(v.id)
    v.character = p.row_character[row]
    prompt = int(p.row_prompt[row])
    fill_request(e, s, q, int(v.at), prompt)
    first, last = int(p.run_offsets[row]), int(p.run_offsets[row + 1])
    if e.limits.prefix_cache and last > first:
        lo = (q + 1) * e.limits.stride - (last - first)
        room = prompt >> e.limits.shift
        for i in range(last - first):
            segment = e.segments[lo + i]
            segment.stream = stream_of(3, int(p.run_stream[first + i]), 0)
            n = (int(p.run_blocks[first + i]) << p.row_shift) >> e.limits.shift
            segment.n = min(n, room)
            segment.node = -1
            room -= segment.n
    return int(p.row_output[row])
