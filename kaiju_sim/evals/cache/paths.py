"""From a prompt format to paths of the simulator's prefix cache.

A part's *chain* is a hash of its own content and of all that stands before it, so that two prompts
share blocks exactly as far as they share text. A block belongs to the part that its last token
lies in. Parts at the front that all users of a character share, and that are renewed no more often
than those before them, are one piece, as date and definition are in the simulator: at its end the
engine keeps the local window that other dialogues resume from. With the simulator's own format the
hits are the simulator's own (tested).
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

from kaiju_sim.engine.layout import Engine, Rec
from kaiju_sim.evals.change import Format, PromptPart
from kaiju_sim.workload.habits import rejects
from kaiju_sim.workload.sessions import Users

SHORT_S = 60.0
_SCOPES = ("character", "user", "message")


class Piece(NamedTuple):
    """A run of blocks with one identity."""

    chain: int
    """Hash of its content and of everything before it, 48 bits."""
    end: int
    """Tokens of the prompt up to its end."""


class Mark(NamedTuple):
    """A part as it stands in one prompt."""

    part: str
    chain: int
    """Hash of its content and of everything before it: new if any of that is."""


def chained(before: int, *content: object) -> int:
    """Hash of content after what stands before."""
    digest = blake2b(repr((before, content)).encode(), digest_size=6).digest()
    return int.from_bytes(digest, "little")


def tokens_of(fmt: Format, definition: int, persona: int, history: int) -> list[int]:
    """Tokens of each part; pieces of a definition or persona add up to it."""
    whole = {"definition": definition, "persona": persona, "history": history}
    cut = dict.fromkeys(whole, 0.0)
    found = []
    for part in fmt:
        if part.source == "text":
            found.append(part.tokens)
            continue
        start = cut[part.source]
        cut[part.source] = start + part.share
        size = whole[part.source]
        found.append(round(cut[part.source] * size) - round(start * size))
    return found


def fixed_tokens(fmt: Format) -> int:
    """Tokens of the texts of a format."""
    return sum(part.tokens for part in fmt)


def scope_of(part: PromptPart) -> str:
    """Who shares a part's content."""
    return {"definition": "character", "persona": "user"}.get(part.source, part.per)


def starts_piece(part: PromptPart, before: Sequence[PromptPart]) -> bool:
    """Whether a part is told apart from what stands before it: fewer share it, or it is renewed
    more often."""
    if not before:
        return True
    if part.source == "history" or before[-1].source == "persona":
        return True
    often = min((p.every or float("inf")) for p in before)
    widest = max(_SCOPES.index(scope_of(p)) for p in before)
    return (part.every or float("inf")) < often or _SCOPES.index(scope_of(part)) > widest


class Moment(NamedTuple):
    """When a prompt is made: simulated time, negative for what was said before the start."""

    at_s: float
    midnight_s: float
    """Local time of day at simulated time 0."""


def bucket(part: PromptPart, now: Moment) -> int:
    """Which renewal of a text is current.

    What was said before the start has the renewal of the start, unless it lasts under a minute.
    """
    if part.every is None:
        return 0
    at_s = now.at_s if part.every < SHORT_S else max(now.at_s, 0.0)
    return int((at_s + now.midnight_s) // part.every)


def content(part: PromptPart, session: Rec, version: int, message: int, now: Moment) -> object:
    """What a part's text depends on."""
    if part.source == "definition":
        return ("definition", part.part, int(session.character), version)
    if part.source == "history":
        return ("history", int(session.id), int(session.epoch))
    who = {"character": 0, "user": int(session.id), "message": message}[scope_of(part)]
    return (part.part, who, bucket(part, now))


def laid_out(
    fmt: Format, sizes: Sequence[int], session: Rec, version: int, message: int, now: Moment
) -> tuple[list[Piece], list[Mark]]:
    """The pieces of a prompt and its parts, front first."""
    pieces: list[Piece] = []
    marks: list[Mark] = []
    chain = end = 0
    for i, (part, size) in enumerate(zip(fmt, sizes, strict=True)):
        chain = chained(chain, content(part, session, version, message, now))
        end += size
        marks.append(Mark(part.part, chain))
        if not starts_piece(part, fmt[:i]):
            pieces.pop()
        pieces.append(Piece(chain, end))
    return pieces, marks


def write(e: Engine, u: Users, session: Rec, q: int, pieces: Sequence[Piece]) -> None:
    """The path of request q: its pieces, the history last, as the engine expects it.

    An answer that will be rejected has a stream of its own behind the history (as in the
    simulator's prompts), so that no later prompt hits it.
    """
    stride, shift = e.limits.stride, e.limits.shift
    lo = q * stride
    before = 0
    for i in range(lo, lo + stride):
        e.segments[i].stream, e.segments[i].n, e.segments[i].node = 0, 0, -1
    who, turn, swipe = int(session.id), int(session.turn), int(session.swipe)
    rejected = u.habits.swipe_rate > 0.0 and rejects(u.habits, u.seed, who, turn, swipe)
    for i, piece in enumerate(pieces):
        last = i == len(pieces) - 1
        at = lo + (stride - 1 - rejected if last else i)
        e.segments[at].stream = piece.chain * 4
        e.segments[at].n = (piece.end >> shift) - before
        before = piece.end >> shift
    if rejected:
        aside = chained(pieces[-1].chain, "rejected", turn, swipe)
        e.segments[lo + stride - 1].stream = aside * 4 + 1
