"""Power of two choices, and gates: which replicas the router may choose, draw by draw."""

from typing import Any

import numpy as np
from scipy.integrate import solve_ivp
from tree_state import as_records, small_engine

from kaiju_sim.engine.layout import OPEN
from kaiju_sim.engine.policy import routing
from kaiju_sim.engine.policy.routing import ROUTER, SHADOW, Routing, choose, see_report, weight

BINS = 4000


def router(policy: str, replicas: int, seed: int = 1, characters: int = 1) -> Routing:
    """A router that has sent nothing yet, and that sees what it sends."""
    blank = {name: np.zeros(replicas, np.int64) for name in ("seen", "sent")}
    state = np.zeros(1, ROUTER)
    state["active"] = state["span"] = replicas
    return as_records(
        Routing(
            policy=routing.POLICIES.index(policy),
            seed=seed,
            bound=1.25,
            min_load=0,
            max_copies=2,
            shard_replicas=1,
            by_session=1,
            load_tokens=10.0,
            state=state,
            reports=np.zeros((2, replicas), np.int64),
            sent_then=np.zeros((2, replicas), np.int64),
            table=np.zeros((2, characters), np.int32),
            copies=np.zeros(characters, np.int32),
            moves=np.zeros((characters, 2), np.int32),
            cost=np.ones(replicas, np.int64),
            **blank,
        )
    )


def engine(gates: Any) -> Any:
    """Replicas with these gates."""
    e = small_engine(blocks=8, replicas=len(gates))
    e.replicas["active"] = gates
    return e


def send(policy: str, gates: Any, messages: int, seed: int = 1) -> Any:
    """How many of these messages, a dialogue each, every replica gets."""
    e, g = engine(gates), router(policy, len(gates), seed)
    see_report(e, g, 0)
    for session in range(messages):
        choose(e, g, 0, 0, session, -1)
    return g.sent.copy()


def tails_of_two_choices(levels: int) -> Any:
    """Share of bins with at least 1, 2 ... balls, n balls into n bins with two choices.

    In the limit of many bins x_i' = x_(i-1)^2 - x_i^2, from 0 to 1 (Mitzenmacher 1996).
    """

    def change(_: float, x: Any) -> Any:
        before = np.concatenate([[1.0], x[:-1]])
        return before**2 - x**2

    return solve_ivp(change, (0, 1), np.zeros(levels), rtol=1e-9, atol=1e-12).y[:, -1]


def test_two_choices_fill_as_theory_says() -> None:
    """As many messages as replicas: the share with 1, 2, 3 of them, within four deviations."""
    sent = send("power_of_two", np.full(BINS, OPEN), BINS)
    for i, share in enumerate(tails_of_two_choices(6)[:3], start=1):
        found = (sent >= i).mean()
        assert abs(found - share) < 4 * np.sqrt(share * (1 - share) / BINS), i
    assert sent.max() <= 4  # ln ln n / ln 2 + O(1); single draws: about ln n / ln ln n, here 7


def test_two_choices_are_better_than_one_and_worse_than_all() -> None:
    gates = np.full(BINS, OPEN)
    two = send("power_of_two", gates, BINS).max()
    e, g = engine(gates), router("power_of_two", BINS)
    one = np.zeros(BINS, int)
    for turn in range(BINS):
        g.state[0].turn = turn
        one[routing.drawn(e, g, 0, SHADOW)] += 1
    assert send("least_loaded", gates[:40], 40).max() == 1 < two < one.max()


def test_a_tie_goes_to_the_first_draw_and_no_gate_is_passed() -> None:
    """Two of five are open: only these are chosen, evenly; each tie is decided by the first."""
    gates = [0, OPEN, SHADOW, OPEN, 0]
    e, g = engine(gates), router("power_of_two", 5)
    for turn in range(200):
        g.state[0].turn = turn
        first, second = (routing.drawn(e, g, i, SHADOW) for i in range(2))
        assert {first, second} <= {1, 3}
        k = choose(e, g, 0, 0, turn, -1)
        g.seen[:] = 0
        assert k == first
    assert g.sent.sum() == 200
    assert abs(g.sent[1] - 100) < 4 * 50**0.5


def test_every_policy_keeps_out_of_closed_gates() -> None:
    for policy in routing.POLICIES:
        sent = send(policy, [0, OPEN, SHADOW, OPEN, OPEN, 0], 60)
        assert sent[[0, 2, 5]].sum() == 0, policy
        assert sent.sum() == 60, policy
        assert policy == "affinity" or sent[[1, 3, 4]].min() > 0, policy


def test_a_half_open_gate_takes_its_share_of_dialogues_and_always_the_same() -> None:
    """Rendezvous over two replicas, one open to a quarter of the dialogues: an eighth of them."""
    gates = [OPEN, OPEN // 4]
    e, g = engine(gates), router("rendezvous", 2)
    g.state[0].ramping = 1
    first = [choose(e, g, 0, 0, s, -1) for s in range(4000)]
    assert abs(np.mean(first) - 1 / 8) < 4 * (0.125 * 0.875 / 4000) ** 0.5
    assert first == [choose(e, g, 0, 0, s, -1) for s in range(4000)]
    e.replicas["active"][1] = OPEN // 2
    wider = np.array([choose(e, g, 0, 0, s, -1) for s in range(4000)])
    assert (wider >= first).all()
    assert abs(wider.mean() - 1 / 4) < 4 * (0.25 * 0.75 / 4000) ** 0.5


def test_a_character_moves_dialogue_by_dialogue() -> None:
    """Its entry reads as the new shard for those whose ticket is under the gate."""
    e, g = engine([OPEN, OPEN, OPEN // 2]), router("affinity", 3)
    g = g._replace(bound=100.0, min_load=10_000)
    g.table[0, 0], g.copies[0] = 1, 1
    g.moves[0] = (1, 3)
    g.state[0].ramping = 1
    found = np.array([choose(e, g, 0, 0, s, 0) for s in range(2000)])
    assert set(found) == {0, 2}
    assert abs((found == 2).mean() - 0.5) < 4 * (0.25 / 2000) ** 0.5
    assert g.copies[0] == 1


def test_load_is_weighed_by_what_a_message_costs() -> None:
    """A replica half as fast gets half as many, by each policy that looks at load."""
    for policy in ("least_loaded", "prefix_aware"):
        e, g = engine([OPEN] * 3), router(policy, 3)
        g.cost[:] = (1, 1, 2)
        for session in range(500):
            choose(e, g, 0, 0, session, -1)
        assert np.abs(g.sent - [200, 200, 100]).max() <= 1, policy
        assert max(weight(g, k) for k in range(3)) <= 202
