"""Dialogues that are under way when a run starts: a stationary population, not a cold start.

A dialogue met at random has a length drawn by length (size-biased), stands at a uniform place in
it, and is in the middle of a pause that was met at random too (a uniform part of a size-biased
one): the pause before its next turn or, where users swipe, one before another answer. Its history
is what its own draws gave in the turns before, cut as prompts are cut.

Where users leave, every turn is survived with some probability s. A dialogue that was to have n
turns is then met with weight 1 + s + ... + s^(n-1), in turn i with weight s^i.
"""

import numpy as np
from numpy.typing import NDArray

from kaiju_sim import rng
from kaiju_sim.engine.layout import Arr
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.workload.characters import definition_tokens
from kaiju_sim.workload.habits import MOST_SWIPES
from kaiju_sim.workload.laws import Laws, draws, mean_of, size_biased
from kaiju_sim.workload.sessions import (
    HISTORY,
    OUTPUT,
    SWIPE_DELAY,
    THINK,
    TURNS,
    USER,
    Users,
)

Floats = NDArray[np.float64]
MASK = 0xFFFFFFFF


def uniforms(seed: int, stream: int, who: Arr, what: Arr | int) -> Floats:
    """`rng.uniform` on an array of dialogues, in 32-bit arithmetic, which wraps as its masks do."""
    low, high = (np.asarray(who) & MASK, np.asarray(who) >> 32)
    key = rng.mix((seed & MASK) ^ (stream * 0x9E3779B & MASK))
    h = mixed(low.astype(np.uint32) ^ np.uint32(key))
    h = mixed(h + high.astype(np.uint32) + np.uint32(0x68E31DA4))
    h = mixed(h ^ np.asarray(what & MASK).astype(np.uint32))
    h = mixed(h + np.asarray(what >> 32).astype(np.uint32) + np.uint32(0x1B56C4E9))
    return np.asarray((h + 0.5) * 2.0**-32)


def mixed(x: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """`rng.mix` on an array, in place."""
    x ^= x >> 16
    x *= np.uint32(0x21F0AAAD)
    x ^= x >> 15
    x *= np.uint32(0x735A2D97)
    x ^= x >> 15
    return x


def counts(users: Users, which: int, u: Floats) -> NDArray[np.int64]:
    """Whole numbers drawn from a law."""
    return (draws(users.laws, which, u) + 0.5).astype(np.int64)


def sessions_under_way(s: Scenario, users: Users, live: int) -> None:
    """Put `live` dialogues into the wheel, each somewhere in its life."""
    if live == 0:
        return
    i = np.arange(live, dtype=np.int64)
    who = i * users.cells + users.cell
    records = users.sessions[:live]
    records["id"] = who
    records["head_key"] = -1
    records["replica"] = -1
    records["node"] = -1
    records["character"] = characters_of(users, who)
    records["turns"], records["turn"] = places(s, users, who)
    fill_pauses(s, users, records)
    records["history"] = histories(s, users, records)
    file_all(s, users, live)


def again(s: Scenario) -> float:
    """Probability that a message is followed by a swipe: its user stays, and rejects the answer."""
    behaviour = s.traffic.sessions
    return (1.0 - behaviour.abandon_rate) * behaviour.swipe_rate


def survival(s: Scenario) -> float:
    """Probability that a dialogue goes on after a turn, as far as its user's leaving goes.

    The turn ends well after j swipes with probability again^j (1 - abandon) (1 - swipe).
    """
    stays = 1.0 - s.traffic.sessions.abandon_rate
    return (stays - again(s)) / (1.0 - again(s))


def turns_lived(n: Floats, stays: float) -> Floats:
    """Turns begun, on average, by dialogues that were to have n turns: 1 + s + ... + s^(n-1)."""
    return n if stays >= 1.0 else -np.expm1(n * np.log(stays)) / (1.0 - stays)


def messages_per_dialogue(s: Scenario, laws: Laws) -> float:
    """Mean messages of a dialogue, swipes included, retries not."""
    if s.traffic.kind != "sessions":
        return 1.0
    turns = mean_of(s.traffic.sessions.turns)
    stays = survival(s)
    if stays < 1.0:
        u = (np.arange(1 << 16) + 0.5) / (1 << 16)
        planned = np.maximum(1.0, np.floor(draws(laws, TURNS, u) + 0.5))
        turns = float(turns_lived(planned, stays).mean())
    return turns / (1.0 - again(s))


def places(s: Scenario, users: Users, who: Arr) -> tuple[Arr, Arr]:
    """Planned turns of dialogues met at random, and the turn that each is about to begin."""
    stays = survival(s)
    u = uniforms(users.seed, rng.TURNS, who, 0)
    where = uniforms(users.seed, rng.START, who, 0)
    if stays >= 1.0:
        turns = np.maximum(1, size_biased(users.laws, TURNS, u) + 0.5).astype(np.int32)
        return turns, (where * turns).astype(np.int32)
    planned = size_biased(users.laws, TURNS, u, lambda n: turns_lived(np.maximum(1, n), stays))
    turns = np.maximum(1, planned + 0.5).astype(np.int32)
    cut = -np.expm1(turns * np.log(stays))
    turn = np.floor(np.log1p(-where * cut) / np.log(stays))
    return turns, np.minimum(turn, turns - 1).astype(np.int32)


def fill_pauses(s: Scenario, users: Users, records: Arr) -> None:
    """Which pause each dialogue is in, when it ends, and when its last turn began."""
    who = records["id"].astype(np.int64)
    q = again(s)
    swipes = q / (1.0 - q)  # pauses before swipes, for each pause before a turn
    behaviour = s.traffic.sessions
    delay_s = mean_of(behaviour.swipe_delay) * swipes
    u = uniforms(users.seed, rng.START, who, 3)
    swiping = u * (mean_of(behaviour.think) + delay_s) < delay_s
    if q > 0:
        number = 1 + np.floor(np.log(uniforms(users.seed, rng.START, who, 4)) / np.log(q))
        records["swipe"] = np.where(swiping, np.minimum(number, MOST_SWIPES), 0)
    biased = uniforms(users.seed, rng.START, who, 1)
    pause = np.where(
        swiping,
        size_biased(users.laws, SWIPE_DELAY, biased),
        size_biased(users.laws, THINK, biased),
    )
    records["at"] = (pause * uniforms(users.seed, rng.START, who, 2) * 1e9).astype(np.int64)
    earlier = np.maximum(0, records["swipe"] - 1) * mean_of(behaviour.swipe_delay)
    records["last"] = records["at"] - ((pause + earlier) * 1e9).astype(np.int64)


def characters_of(users: Users, who: Arr) -> Arr:
    """Characters of sessions, by the same draw as at a session's start."""
    x = uniforms(users.seed, rng.CHARACTER, who, 0) * users.threshold.size
    column = x.astype(np.int64)
    own = x - column < users.threshold[column]
    return np.asarray(np.where(own, column, users.alias[column]))


def histories(s: Scenario, users: Users, records: Arr) -> NDArray[np.int64]:
    """Tokens of history after what lies behind each session, cut as prompts are cut.

    A dialogue that swipes has said the words of its turn and not yet accepted an answer.
    """
    who = records["id"].astype(np.int64)
    history = counts(users, HISTORY, uniforms(users.seed, rng.HISTORY, who, 0))
    head = s.prompt.date_tokens + s.prompt.persona_tokens
    definition = counts_of_definitions(s, records["character"])
    active = np.arange(who.size)
    begun = records["turn"] + (records["swipe"] > 0)
    for turn in range(int(begun.max(initial=0))):
        active = active[begun[active] > turn]
        said = counts(users, USER, uniforms(users.seed, rng.USER_TOKENS, who[active], turn))
        out = counts(users, OUTPUT, uniforms(users.seed, rng.OUTPUT_TOKENS, who[active], turn))
        total = head + definition[active] + history[active] + said
        over = np.maximum(0, total - s.prompt.limit)
        cut = -(-over // s.prompt.truncation_step) * s.prompt.truncation_step
        heard = np.where(records["turn"][active] > turn, np.maximum(1, out), 0)
        history[active] = np.maximum(0, history[active] - cut) + said + heard
    return history


def counts_of_definitions(s: Scenario, character: Arr) -> NDArray[np.int64]:
    """Definition tokens of each session's character."""
    return np.asarray(definition_tokens(s)[character], np.int64)


def file_all(s: Scenario, users: Users, live: int) -> None:
    """Chain the first `live` session records into the wheel by their times."""
    records = users.sessions
    slot = (records["at"][:live] // users.epoch_ns) & (users.wheel.size - 1)
    order = np.argsort(slot, kind="stable")
    following = np.full(live, -1, np.int64)
    same = slot[order][:-1] == slot[order][1:]
    following[order[:-1][same]] = order[1:][same]
    records["next"][:live] = following
    first = np.concatenate([[True], ~same])
    users.wheel[slot[order][first]] = order[first]
    users.clock["spare"] = live if live < records.size else -1
    users.clock["live"] = live
    users.clock["started"] = live
    users.clock["cold"] = live if s.run.start == "warm" else 0
    users.clock["warming"] = s.run.start == "warm"
