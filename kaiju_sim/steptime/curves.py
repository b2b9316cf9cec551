"""Step-time curves as flat arrays, and the few functions that read them.

A step takes the sum of what depends on its token rows, on the sequences that sample, on the
contexts that decoding sequences read (all together, and the window of one, which a step waits for),
and on the query-key pairs that prefill attends to, plus host overhead. Rows and sequences are dense
tables (they keep every staircase of a matrix product); contexts and pairs are curves on a log grid,
eight slots an octave, linear within a slot.

The functions are plain Python over numbers and arrays: the compiled loop compiles this very source,
and both give the same bits, since the operations and their order are written once, here.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

OPERATORS, CONSTANT, EXPONENTIAL = range(3)
"""Kinds of step time: a sum of operator curves, one fixed time, an exponential draw."""

DECODE_GLOBAL, DECODE_LOCAL, PREFILL_GLOBAL, PREFILL_LOCAL, DECODE_EACH = range(5)
"""Context curves: sum of contexts, sum of min(context, window), pairs, pairs in the window, mean of
min(context, window)."""
CONTEXT_CURVES = 5
"""How many a group has."""
ENGINE = 4
"""Numbers that `Curves.engine` has for a group."""
NO_ENGINE = np.zeros(ENGINE)
"""A step starts when the one before has ended."""

SLOTS_PER_OCTAVE = 8
OCTAVES = 48
SLOTS = SLOTS_PER_OCTAVE * OCTAVES
"""Slots of a context curve: x from 1 to 2**48; beyond, the last slot's line goes on."""


class Curves(NamedTuple):
    """Step time of one replica, in nanoseconds; see the module's text for the sum it stands for.

    In a mixed fleet the tables of its groups of replicas stand one after the other: `rows` and
    `seqs` are their lengths then, and each group has five rows of slopes and offsets.
    """

    kind: int
    mean_ns: float
    host_ns: float
    rows_ns: NDArray[np.float64]
    seqs_ns: NDArray[np.float64]
    slope: NDArray[np.float64]
    offset: NDArray[np.float64]
    rounds: NDArray[np.int64]
    """Per group: new tokens that prefill attention takes at a time (0: any number is alike)."""
    each: bool
    """Whether any group's DECODE_EACH is more than nothing; else it is not read."""
    rows: int = 0
    seqs: int = 0
    engine: NDArray[np.float64] = NO_ENGINE
    """`[groups * 4]`: the engine's own time that is no curve. Of each prompt under way, before a
    step; and what lies between a step's tokens and the next step: of each step, of each sequence
    that decoded in it, of each prompt that was under way."""


def curve_ns(curves: Curves, which: int, x: int) -> float:
    """Time of context curve `which` (five a group) at x tokens or pairs: 0 at 0, else linear."""
    if x <= 0:
        return 0.0
    mantissa, exponent = math.frexp(float(x))
    slot = (exponent - 1) * 8 + int(mantissa * 16.0) - 8
    last = curves.slope.shape[1] - 1
    if slot > last:
        slot = last
    return float(curves.offset[which, slot] + curves.slope[which, slot] * x)


def in_rounds(rows: int, pairs: int, round_tokens: int) -> int:
    """The pairs that `rows` new tokens with `pairs` cost when taken in rounds of so many tokens.

    A kernel whose programs are all resident takes the tokens in rounds; a last round that is not
    full takes as long as a full one. Without rounds (0) the pairs themselves.
    """
    if round_tokens <= 0 or rows <= 0:
        return pairs
    full = (rows + round_tokens - 1) // round_tokens * round_tokens
    return pairs * full // rows


def chunk_rounds(rows: int, pairs: int, longest: int, round_tokens: int) -> int:
    """The pairs that one chunk costs by itself: a step with others takes at least as long.

    Its first round is as long as its longest row, the last token's, which sees `longest` keys.
    """
    return max(in_rounds(rows, pairs, round_tokens), longest * round_tokens)


def fixed_ns(curves: Curves, rows: int, seqs: int, prompts: int = 0, group: int = 0) -> float:
    """Time that does not depend on contexts: host, token rows, sampling sequences, `prompts` under
    way (which are among the sequences)."""
    if curves.kind != 0:
        return curves.mean_ns
    of_rows = curves.rows_ns[group * curves.rows + rows]
    of_prompts = curves.engine[group * ENGINE] * prompts
    return float(curves.host_ns + of_rows + curves.seqs_ns[group * curves.seqs + seqs] + of_prompts)


def decode_ns(curves: Curves, context: int, window: int, decodes: int, group: int = 0) -> float:
    """Decode attention: `context` tokens read by global layers, `window` by local ones.

    And the latency of one of the `decodes` sequences, by the mean of their windows, rounded down:
    however few they are, a step takes as long as one sequence's attention does.
    """
    if curves.kind != 0:
        return 0.0
    own = group * CONTEXT_CURVES
    total = curve_ns(curves, own + DECODE_GLOBAL, context)
    total += curve_ns(curves, own + DECODE_LOCAL, window)
    if curves.each and decodes > 0:
        total += curve_ns(curves, own + DECODE_EACH, window // decodes)
    return total


def prefill_ns(curves: Curves, pairs: int, window_pairs: int, group: int = 0) -> float:
    """Prefill attention: pairs of global layers, and those within the window, as rounds cost."""
    if curves.kind != 0:
        return 0.0
    own = group * CONTEXT_CURVES
    whole = curve_ns(curves, own + PREFILL_GLOBAL, pairs)
    return whole + curve_ns(curves, own + PREFILL_LOCAL, window_pairs)


def after_ns(curves: Curves, decodes: int, prompts: int, group: int = 0) -> int:
    """Time from a step's tokens to the next step's start: the engine's own, nothing runs in it."""
    own = group * ENGINE + 1
    of_decodes = curves.engine[own + 1] * decodes
    return int(curves.engine[own] + of_decodes + curves.engine[own + 2] * prompts + 0.5)


def step_ns(fixed: float, decode: float, prefill: float) -> int:
    """The step's duration, rounded once to whole nanoseconds; at least 1."""
    duration = int(fixed + decode + prefill + 0.5)
    return duration if duration > 0 else 1
