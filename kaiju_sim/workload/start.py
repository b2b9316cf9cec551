"""Dialogues that are under way when a run starts: a stationary population, not a cold start.

A dialogue met at random has a length drawn by length (size-biased), stands at a uniform place in
it, and is in the middle of a pause that was met at random too (a uniform part of a size-biased
one). Its history is what its own draws gave in the turns before, cut as prompts are cut.
"""

import numpy as np
from numpy.typing import NDArray

from kaiju_sim import rng
from kaiju_sim.engine.layout import Arr
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.workload.characters import definition_tokens
from kaiju_sim.workload.laws import draws, size_biased
from kaiju_sim.workload.sessions import HISTORY, OUTPUT, THINK, TURNS, USER, Users

Floats = NDArray[np.float64]


def uniforms(seed: int, stream: int, who: Arr, what: Arr | int) -> Floats:
    """`rng.uniform` on arrays."""
    return np.asarray(rng.uniform(seed, stream, who, what))  # type: ignore[arg-type]


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
    records["row"] = -1
    records["character"] = characters_of(users, who)
    length = size_biased(users.laws, TURNS, uniforms(users.seed, rng.TURNS, who, 0))
    records["turns"] = np.maximum(1, length + 0.5).astype(np.int32)
    place = uniforms(users.seed, rng.START, who, 0) * records["turns"]
    records["turn"] = place.astype(np.int32)
    pause = size_biased(users.laws, THINK, uniforms(users.seed, rng.START, who, 1))
    records["at"] = (pause * uniforms(users.seed, rng.START, who, 2) * 1e9).astype(np.int64)
    records["last"] = records["at"] - (pause * 1e9).astype(np.int64)
    records["history"] = histories(s, users, records)
    file_all(s, users, live)


def characters_of(users: Users, who: Arr) -> Arr:
    """Characters of sessions, by the same draw as at a session's start."""
    x = uniforms(users.seed, rng.CHARACTER, who, 0) * users.threshold.size
    column = x.astype(np.int64)
    own = x - column < users.threshold[column]
    return np.asarray(np.where(own, column, users.alias[column]))


def histories(s: Scenario, users: Users, records: Arr) -> NDArray[np.int64]:
    """Tokens of history after the turns that lie behind each session, cut as prompts are cut."""
    who = records["id"].astype(np.int64)
    history = counts(users, HISTORY, uniforms(users.seed, rng.HISTORY, who, 0))
    head = s.prompt.date_tokens + s.prompt.persona_tokens
    definition = counts_of_definitions(s, records["character"])
    active = np.arange(who.size)
    for turn in range(int(records["turn"].max(initial=0))):
        active = active[records["turn"][active] > turn]
        said = counts(users, USER, uniforms(users.seed, rng.USER_TOKENS, who[active], turn))
        out = counts(users, OUTPUT, uniforms(users.seed, rng.OUTPUT_TOKENS, who[active], turn))
        total = head + definition[active] + history[active] + said
        over = np.maximum(0, total - s.prompt.limit)
        cut = -(-over // s.prompt.truncation_step) * s.prompt.truncation_step
        history[active] = np.maximum(0, history[active] - cut) + said + np.maximum(1, out)
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
