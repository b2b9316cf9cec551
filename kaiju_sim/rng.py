"""Counter-based random draws: a pure function of (seed, stream, who, what).

Nothing is consumed, so no stream shifts another and two scenarios that differ in one thing see the
same users (common random numbers). The mixer is a 32-bit one with both multipliers under 2**31
(constants 0x21F0AAAD and 0x735A2D97, found by C. Wellons' hash prospector search): no product
reaches 2**63, so plain Python and compiled int64 agree to the bit and no compiler may assume an
overflow away.

These functions are plain Python; `engine.compiled` makes them callable from compiled code.
"""

import math

# Names of the streams. One number each, never reused: a stream is what its draws mean.
ARRIVAL = 1
CHARACTER = 2
TURNS = 3
THINK = 4
USER_TOKENS = 5
OUTPUT_TOKENS = 6
HISTORY = 7
DEFINITION = 8
START = 9
STEP = 10
ROUTER = 11
EDIT = 12
PERSONA = 13
SAMPLE = 14
SWIPE = 20
SWIPE_DELAY = 21
LEAVE = 22
LEAVE_TOKENS = 23
BACKOFF = 24
GAMMA = 25
TWO_CHOICES = 30
GATE = 31
MOVE = 32
HOME = 33
TIER = 40
AGE = 50
MESSAGE_CLASS = 51
MESSAGE_SCORE = 52
GATE_SERVICE = 53
ANSWER_CLASS = 54
ANSWER_SCORE = 55
CANDIDATE_SCORE = 56
FILTERED_CHUNK = 57
REFUSED = 58
REWORD_PAUSE = 59
REPLICATION = 60
INCIDENT = 70
MTTR = 71
PERSONA_OWN = 72
PERSONA_TURN = 73
PANEL = 74


def mix(x: int) -> int:
    """A bijection of 32-bit integers with good avalanche."""
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & 0xFFFFFFFF
    x = ((x ^ (x >> 15)) * 0x735A2D97) & 0xFFFFFFFF
    return x ^ (x >> 15)


def hash_of(seed: int, stream: int, who: int, what: int) -> int:
    """32 hashed bits of the key; `who` and `what` may have up to 62 bits."""
    h = mix((seed & 0xFFFFFFFF) ^ (stream * 0x9E3779B & 0xFFFFFFFF))
    h = mix(h ^ (who & 0xFFFFFFFF))
    h = mix((h + (who >> 32) + 0x68E31DA4) & 0xFFFFFFFF)
    h = mix(h ^ (what & 0xFFFFFFFF))
    return mix((h + (what >> 32) + 0x1B56C4E9) & 0xFFFFFFFF)


def uniform(seed: int, stream: int, who: int, what: int) -> float:
    """A uniform draw in the open interval (0, 1), on a grid of 2**-32."""
    return (hash_of(seed, stream, who, what) + 0.5) * 2.3283064365386963e-10


def exponential(mean: float, u: float) -> float:
    """The exponential quantile of a uniform draw."""
    return -mean * math.log(u)
