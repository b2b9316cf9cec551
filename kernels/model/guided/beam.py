"""Classifier-guided beam search: of a few continuations, go on with the one that scores best.

A round forks each sequence into n candidates (3) that share its cache, decodes 16 tokens of all
candidates of all sequences together, and judges each by the metrics at its end. Of those that no
threshold filters, the highest score wins, of equals the lowest number; the winner's tokens are
appended and it becomes the sequence. This goes on until the end token, until max_tokens, or until
all candidates of a round are filtered. Then the reply ends, and the caller's policy says with what:

* "flag": the best of the filtered candidates is appended, and the reply says so;
* "refuse": none is, and the reply ends before the round.

Tokens come in bursts of 16, and cost n decode rows for one token that is kept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import torch

from kernels.common import checks
from kernels.model.guided.classifier import HeadNames
from kernels.model.guided.scoring import Judge, Rules, Verdict, best

WhenAllFiltered = Literal["flag", "refuse"]
Ending = Literal["end_token", "max_tokens", "filtered"]
LARGEST = 1 << 20


class Decoded(NamedTuple):
    """What a round gave, for each candidate in the order asked."""

    tokens: Sequence[Sequence[int]]
    """As many as asked for, or fewer if the last is an end token."""
    ended: Sequence[bool]
    """Is the last one an end token?"""
    metrics: torch.Tensor
    """float32 `[candidates, heads]`: probabilities at each candidate's end, of the row that its
    last token was drawn from."""


class Generator(Protocol):
    """A model with a paged cache, as the search uses it. Sequences are numbers that it gives out;
    each holds pages until it is freed."""

    @property
    def heads(self) -> HeadNames:
        """Names of the columns of `Decoded.metrics`."""

    def fork(self, sequences: Sequence[int], count: int) -> Sequence[Sequence[int]]:
        """For each sequence, `count` new ones that continue it; the sequence itself stays.

        Full pages are shared: one more holder each, in the pool of whole contexts as in that of
        windows. A last page that is not full is copied for each, as each writes on in it. Each
        draws with random numbers of its own. If pages are short this raises, and has forked none.
        """

    def decode(self, sequences: Sequence[int], steps: int) -> Decoded:
        """Decode up to `steps` tokens of all of these, together. What is computed behind an end
        token, because steps are the same for all, belongs to no sequence."""

    def free(self, sequences: Sequence[int]) -> None:
        """Give up sequences; a page that no sequence holds is free. Never raises."""


@dataclass(frozen=True)
class SearchOptions:
    """How to search. Raises ValueError at impossible sizes."""

    candidates: int = 3
    """Continuations of a sequence in each round."""
    chunk: int = 16
    """Tokens of each."""
    max_tokens: int = 256
    """Tokens of a reply at most; the last chunk is shorter where they are not a multiple."""
    when_all_filtered: WhenAllFiltered = "flag"
    """What a reply ends with when thresholds filter all candidates."""

    def __post_init__(self) -> None:
        for name in ("candidates", "chunk", "max_tokens"):
            size = getattr(self, name)
            checks.number(name, size, 1, LARGEST)
            if not isinstance(size, int):
                raise ValueError(f"{name}: is {size!r}, must be a whole number")
        checks.one_of("when_all_filtered", self.when_all_filtered, ("flag", "refuse"))


class Choice(NamedTuple):
    """One round of one sequence."""

    winner: int | None
    """Number of the candidate that was appended; None if all were refused."""
    scores: tuple[float, ...]
    """Of each candidate."""
    broken: tuple[tuple[str, ...], ...]
    """Of each candidate, the heads whose threshold it exceeds."""


@dataclass
class Reply:
    """What the search made of one sequence."""

    sequence: int
    """The generator's number of it now; the caller's to free."""
    tokens: list[int] = field(default_factory=list)
    """Its new tokens, an end token included."""
    choices: list[Choice] = field(default_factory=list)
    """Its rounds."""
    ending: Ending | None = None
    """Why it ended; None while it has not."""

    @property
    def flagged(self) -> bool:
        """Did thresholds filter all candidates of its last round? Its tokens then end with one of
        them ("flag") or before them ("refuse")."""
        return self.ending == "filtered"


def guided_search(
    generator: Generator, sequences: Sequence[int], rules: Rules,
    options: SearchOptions | None = None,
) -> list[Reply]:  # fmt: skip
    """Replies to sequences whose prompts are in the cache, one each, in their order.

    Takes the sequences over: use those of the replies, which hold prompt and reply. If anything
    raises, all of them are freed and the error goes on. Raises ValueError, before any decoding, if
    a rule names a head that the generator does not have, and also if metrics are no probabilities
    or the generator breaks its promises.
    """
    options = options or SearchOptions()
    if len(set(sequences)) < len(sequences):
        raise ValueError("sequences: must differ")
    replies = [Reply(sequence) for sequence in sequences]
    held = _Held(generator, sequences)
    try:
        judge = Judge(rules, generator.heads)
        while live := [reply for reply in replies if reply.ending is None]:
            _round(held, live, judge, options)
    except BaseException:
        held.free(list(held.sequences))
        raise
    return replies


class _Held:
    """The sequences that a search holds, so that none is lost whatever is raised."""

    def __init__(self, generator: Generator, sequences: Iterable[int]) -> None:
        self.generator = generator
        self.sequences = dict.fromkeys(sequences)

    def fork(self, sequences: Sequence[int], count: int) -> list[list[int]]:
        groups = [list(group) for group in self.generator.fork(sequences, count)]
        self.sequences |= dict.fromkeys(child for group in groups for child in group)
        if [len(group) for group in groups] != [count] * len(sequences):
            raise ValueError(f"fork: must give {count} sequences for each of {len(sequences)}")
        return groups

    def free(self, sequences: Sequence[int]) -> None:
        for sequence in sequences:
            del self.sequences[sequence]
        self.generator.free(sequences)


def _round(held: _Held, live: Sequence[Reply], judge: Judge, options: SearchOptions) -> None:
    """Fork, decode, judge and choose, for all replies that have not ended."""
    # Those that have not ended have had full chunks, so all have as many tokens left.
    steps = min(options.chunk, options.max_tokens - len(live[0].tokens))
    groups = held.fork([reply.sequence for reply in live], options.candidates)
    flat = [child for group in groups for child in group]
    decoded = held.generator.decode(flat, steps)
    _check(decoded, len(flat), steps)
    verdict = judge.verdict(decoded.metrics)
    losers: list[int] = []
    for number, (reply, group) in enumerate(zip(live, groups, strict=True)):
        first = number * options.candidates
        choice = choose(verdict, range(first, first + options.candidates), options)
        reply.choices.append(choice)
        if choice.winner is not None:
            _append(reply, decoded, first + choice.winner, options.max_tokens)
        losers += _take(reply, group, choice)
    held.free(losers)


def _check(decoded: Decoded, count: int, steps: int) -> None:
    """The generator kept to `Generator.decode`."""
    if not len(decoded.tokens) == len(decoded.ended) == len(decoded.metrics) == count:
        raise ValueError(f"decode: must give tokens, ends and metrics of {count} candidates")
    for tokens, ended in zip(decoded.tokens, decoded.ended, strict=True):
        if not 1 <= len(tokens) <= steps or (len(tokens) < steps and not ended):
            raise ValueError(f"decode: gave {len(tokens)} tokens, must be {steps} or reach an end")


def choose(verdict: Verdict, candidates: range, options: SearchOptions) -> Choice:
    """The winner of one sequence's candidates (rows of the verdict)."""
    scores = tuple(verdict.scores[row] for row in candidates)
    broken = tuple(verdict.broken[row] for row in candidates)
    passed = [number for number, heads in enumerate(broken) if not heads]
    if not passed and options.when_all_filtered == "refuse":
        return Choice(None, scores, broken)
    return Choice(best(scores, passed or range(len(scores))), scores, broken)


def _append(reply: Reply, decoded: Decoded, row: int, max_tokens: int) -> None:
    """The winner's tokens, and whether they are the last."""
    reply.tokens += decoded.tokens[row]
    if decoded.ended[row]:
        reply.ending = "end_token"
    elif len(reply.tokens) >= max_tokens:
        reply.ending = "max_tokens"


def _take(reply: Reply, group: Sequence[int], choice: Choice) -> list[int]:
    """The reply goes on as its winner, if there is one; gives the sequences to free."""
    if all(choice.broken):
        reply.ending = "filtered"
    everyone = [reply.sequence, *group]
    if choice.winner is not None:
        reply.sequence = group[choice.winner]
    return [sequence for sequence in everyone if sequence != reply.sequence]
