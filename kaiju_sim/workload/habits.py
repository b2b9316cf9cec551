"""What users do besides reading and replying: ask for another answer, leave, lose patience.

Every decision is a keyed draw of (dialogue, turn, swipe), so it can be asked for whenever it is
needed: when the prompt is composed, to name the blocks of an answer, and when the answer ends.
"""

from typing import NamedTuple

from kaiju_sim import rng

MOST_SWIPES = 127
"""Answers to one turn that can be rejected; the next one is accepted."""


class Habits(NamedTuple):
    """Behaviour of the users of one cell."""

    swipe_rate: float
    """Probability, after each finished answer, that another one to the same turn is asked for."""
    leave_rate: float
    """Probability, for each message, that the user leaves while the answer streams."""
    retries: int
    """How often a message that got no answer is sent again."""
    backoff_s: float
    """Pause before the first retry."""
    backoff_factor: float
    """Each further pause is this many times longer."""
    jitter: float
    """Largest part of a pause that a draw takes off."""
    retry_budget: float
    """Retries that each message sent for the first time earns (infinite: no bound)."""


def ask_key(turn: int, swipe: int) -> int:
    """The draws of one answer: the turn itself for the first answer to it."""
    return turn + (swipe << 32)


def rejects(h: Habits, seed: int, who: int, turn: int, swipe: int) -> bool:
    """Whether dialogue `who` will ask for another answer than this one."""
    if h.swipe_rate <= 0.0 or swipe >= MOST_SWIPES:
        return False
    return bool(rng.uniform(seed, rng.SWIPE, who, ask_key(turn, swipe)) < h.swipe_rate)


def leaves(h: Habits, seed: int, who: int, turn: int, swipe: int) -> bool:
    """Whether the user leaves while this answer streams."""
    if h.leave_rate <= 0.0:
        return False
    return bool(rng.uniform(seed, rng.LEAVE, who, ask_key(turn, swipe)) < h.leave_rate)


def heard(h: Habits, seed: int, who: int, turn: int, swipe: int, out: int) -> int:
    """Tokens of an answer of `out` tokens that the user stays for: uniform on 1 .. out, or all."""
    if not leaves(h, seed, who, turn, swipe):
        return out
    return 1 + int(rng.uniform(seed, rng.LEAVE_TOKENS, who, ask_key(turn, swipe)) * out)


def backoff_s(h: Habits, seed: int, who: int, turn: int, swipe: int, attempt: int) -> float:
    """Pause before the retry that follows attempt 0, 1, ...: exponential, less a uniform part."""
    pause = h.backoff_s
    for _ in range(attempt):
        pause = min(pause * h.backoff_factor, 1e9)
    u = rng.uniform(seed, rng.BACKOFF, who, ask_key(turn, swipe) + (attempt << 40))
    return pause * (1.0 - h.jitter * u)
