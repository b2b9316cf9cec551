"""Who says what, and what classifiers make of it: keyed draws of (dialogue, turn, wording).

Log-odds of a score are normal about the class's mean. Candidates of one answer share a part of
theirs: with correlation r, sqrt(r) of a common normal and sqrt(1 - r) of one's own.
"""

import math

from kaiju_sim import rng
from kaiju_sim.fleet.gate.records import Gate


def wording(turn: int, swipe: int, tries: int) -> int:
    """The draws of one message: its turn, which answer is asked for, in which words."""
    return turn + (swipe << 32) + (tries << 40)


def normal(seed: int, stream: int, who: int, what: int) -> float:
    """A standard normal draw (G. E. P. Box and M. E. Muller, 1958)."""
    size = math.sqrt(-2.0 * math.log(rng.uniform(seed, stream, who, what)))
    return size * math.cos(2.0 * math.pi * rng.uniform(seed, stream, who, what + (1 << 56)))


def class_of(g: Gate, seed: int, age: int, who: int, turn: int) -> int:
    """Class of a dialogue's message: 0 benign, 1 intense, 2 violating; rewording keeps it."""
    u = rng.uniform(seed, rng.MESSAGE_CLASS, who, turn)
    if u < g.classes[age, 1]:
        return 2
    return 1 if u < g.classes[age, 1] + g.classes[age, 0] else 0


def answer_class(g: Gate, seed: int, kind: int, who: int, what: int) -> int:
    """Class of the answer to a message of this class; one that does not violate is as intense."""
    if rng.uniform(seed, rng.ANSWER_CLASS, who, what) < g.risk[kind]:
        return 2
    return min(kind, 1)


def message_score(
    g: Gate, seed: int, age: int, kind: int, who: int, turn: int, tries: int
) -> float:
    """Log-odds of a message's score; the same however often it is sent in these words."""
    z = normal(seed, rng.MESSAGE_SCORE, who, wording(turn, 0, tries))
    return float(g.centre[0, age, kind] + g.spread[0, age, kind] * z + g.shift[0, age, kind])


def answer_score(
    g: Gate, seed: int, age: int, kind: int, who: int, what: int, candidates: int
) -> float:
    """Log-odds of the score of the best of an answer's candidates."""
    common = math.sqrt(g.likeness) * normal(seed, rng.ANSWER_SCORE, who, what)
    own = math.sqrt(1.0 - g.likeness)
    least = common + own * normal(seed, rng.CANDIDATE_SCORE, who, what)
    for i in range(1, candidates):
        z = common + own * normal(seed, rng.CANDIDATE_SCORE, who, what + (i << 48))
        least = min(least, z)
    return float(g.centre[1, age, kind] + g.spread[1, age, kind] * least + g.shift[1, age, kind])


def bin_of_score(log_odds: float) -> int:
    """The bin of a score's log-odds."""
    return int(min(max((log_odds + 16.0) * 32.0, 0.0), 1023.0))


def note(
    g: Gate, segment: int, stage: int, age: int, kind: int, score: float, stopped: bool
) -> None:
    """Count a verdict: in all, and of the measured cohort."""
    g.totals[stage, age, kind, 0] += 1
    g.totals[stage, age, kind, 1] += stopped
    if segment < 0:
        return
    g.counts[segment, stage, age, kind, 0] += 1
    g.counts[segment, stage, age, kind, 1] += stopped
    g.scores[segment, stage, age, kind, bin_of_score(score)] += 1
