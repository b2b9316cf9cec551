"""The search on a generator without a model: who wins, when it ends, and that no page is lost."""

import re
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from guided_fake import FakeGenerator, Said, Script
from hypothesis import given
from hypothesis import strategies as st

from kernels.model.guided.beam import Decoded, Reply, SearchOptions, guided_search
from kernels.model.guided.scoring import Penalty, Reward, Rules, Threshold

NAMES = ("good", "bad", "dull")
RULES = Rules((Threshold("bad", 0.3),), (Penalty("dull", 0.5, 1000.0),), (Reward("good"),))
END = 9


def by_rounds(rounds: Sequence[Sequence[Said]]) -> Script:
    """The same for every sequence."""
    return lambda number, _root, candidate: rounds[number][candidate]


def constant(*metrics: Sequence[float]) -> Script:
    """The same in every round."""
    return lambda _number, _root, candidate: Said(metrics[candidate])


def searched(script: Script, prompt: int = 6, **options: Any) -> tuple[Reply, FakeGenerator]:
    """One sequence."""
    generator = FakeGenerator(NAMES, script)
    start = generator.start(prompt)
    (reply,) = guided_search(generator, [start], RULES, SearchOptions(**options))
    return reply, generator


def winners(reply: Reply) -> list[int | None]:
    return [choice.winner for choice in reply.choices]


def test_each_round_goes_on_with_the_best() -> None:
    rounds = [
        [Said((0.2, 0, 0), range(0, 16)), Said((0.9, 0, 0), range(20, 36)), Said((0.5, 0, 0))],
        [Said((0.9, 0, 0.6)), Said((0.5, 0, 0.7)), Said((0.1, 0, 0.1), range(40, 56))],
    ]
    reply, generator = searched(by_rounds(rounds), max_tokens=32)
    assert winners(reply) == [1, 2]
    assert reply.tokens == [*range(20, 36), *range(40, 56)]
    assert (reply.ending, reply.flagged) == ("max_tokens", False)
    assert generator.sequences[reply.sequence].tokens == [*range(-6, 0), *reply.tokens]
    assert generator.decodes == [(3, 16), (3, 16)]


def test_a_filtered_candidate_does_not_win_whatever_its_score() -> None:
    script = constant((1, 0.31, 0), (0.1, 0.25, 0.9), (0.1, 0, 0.8))
    reply, _ = searched(script, max_tokens=32)
    assert winners(reply) == [1, 1]  # the others have the same score
    assert (reply.ending, reply.flagged) == ("max_tokens", False)
    assert reply.choices[0].broken == (("bad",), (), ())
    assert reply.choices[0].scores == pytest.approx((1.0, 0.1**0.5 - 1000, 0.1**0.5 - 1000))


def test_of_equals_the_lowest_number_wins() -> None:
    reply, _ = searched(constant((0.5, 0, 0), (0.7, 0, 0), (0.7, 0, 0)), max_tokens=48)
    assert winners(reply) == [1, 1, 1]


def test_an_end_token_of_the_winner_ends_the_reply() -> None:
    rounds = [
        [Said((0.9, 0, 0)), Said((0.1, 0, 0), [1, END], ended=True), Said((0.1, 0, 0))],
        [Said((0.1, 0, 0)), Said((0.1, 0, 0)), Said((0.9, 0, 0), [5, 6, END], ended=True)],
    ]
    reply, _ = searched(by_rounds(rounds), max_tokens=640)
    assert winners(reply) == [0, 2]
    assert reply.tokens == [*range(100, 116), 5, 6, END]
    assert reply.ending == "end_token"


def test_the_last_chunk_is_as_short_as_what_is_left() -> None:
    reply, generator = searched(constant((0.5, 0, 0)), max_tokens=37, candidates=1)
    assert generator.decodes == [(1, 16), (1, 16), (1, 5)]
    assert (len(reply.tokens), reply.ending) == (37, "max_tokens")


ALL_BAD = [
    [Said((0.5, 0, 0)), Said((0.4, 0, 0))],
    [Said((0.5, 0.8, 0.9), [1] * 16), Said((0.4, 0.9, 0), [2, END], ended=True)],
]


def test_when_all_are_filtered_the_best_of_them_is_flagged_and_the_reply_ends() -> None:
    reply, generator = searched(by_rounds(ALL_BAD), candidates=2)
    assert (reply.ending, reply.flagged) == ("filtered", True)
    assert winners(reply) == [0, 1]
    assert reply.tokens[16:] == [2, END]
    assert reply.choices[1].broken == (("bad",), ("bad",))
    assert generator.sequences[reply.sequence].tokens[6:] == reply.tokens


def test_or_is_refused_and_the_reply_ends_before_it() -> None:
    reply, generator = searched(by_rounds(ALL_BAD), candidates=2, when_all_filtered="refuse")
    assert (reply.ending, reply.flagged) == ("filtered", True)
    assert winners(reply) == [0, None]
    assert len(reply.tokens) == 16
    assert generator.sequences[reply.sequence].tokens[6:] == reply.tokens
    assert list(generator.sequences) == [reply.sequence]


def test_sequences_are_decoded_together_until_each_ends() -> None:
    def script(number: int, root: int, candidate: int) -> Said:
        ends = number == root  # the first prompt is number 1, the second 2
        return Said((candidate / 4, 0, 0), [root, END] if ends else [root] * 16, ends)

    generator = FakeGenerator(NAMES, script)
    starts = [generator.start(5), generator.start(8)]
    replies = guided_search(generator, starts, RULES)
    assert [reply.tokens for reply in replies] == [[1] * 16 + [1, END], [2] * 32 + [2, END]]
    assert generator.decodes == [(6, 16), (6, 16), (3, 16)]
    assert sorted(generator.sequences) == sorted(reply.sequence for reply in replies)
    assert guided_search(generator, [], RULES) == []


def test_a_fork_shares_full_pages_and_copies_the_last() -> None:
    """Pages of 4: a prompt of 10 fills two and a half."""
    _, generator = searched(constant(*[(0.5, 0, 0)] * 3), prompt=10, max_tokens=4, chunk=4)
    assert generator.copied == 3
    assert generator.most_pages == 2 + 1 + 3 * 2  # shared, the prompt's last, two each
    assert generator.pages == 4
    _, generator = searched(constant(*[(0.5, 0, 0)] * 3), prompt=8, max_tokens=8, chunk=4)
    assert generator.copied == 0
    assert generator.pages == 4


outcome = st.tuples(
    st.tuples(*[st.sampled_from([0.0, 0.25, 0.5, 1.0])] * 3), st.integers(1, 7), st.booleans()
)


@given(
    prompts=st.lists(st.integers(1, 12), max_size=3),
    said=st.lists(outcome, min_size=1, max_size=12),
    candidates=st.integers(1, 4),
    chunk=st.integers(1, 7),
    max_tokens=st.integers(1, 20),
    policy=st.sampled_from(["flag", "refuse"]),
    limit=st.sampled_from([12, 20, 1000]),
)
def test_pages_are_conserved(
    prompts: list[int], said: list[tuple[Any, int, bool]], candidates: int, chunk: int,
    max_tokens: int, policy: Any, limit: int,
) -> None:  # fmt: skip
    """Only the replies' own pages stay; nothing stays if pages run out."""

    def script(number: int, root: int, candidate: int) -> Said:
        metrics, length, ended = said[(number * 7 + root * 3 + candidate) % len(said)]
        steps = generator.decodes[-1][1]
        return Said(metrics, range(min(length, steps) if ended else steps), ended)

    generator = FakeGenerator(NAMES, script, limit=limit)
    starts = [generator.start(length) for length in prompts] if sum(prompts) < 12 else []
    options = SearchOptions(candidates, chunk, max_tokens, policy)
    try:
        replies = guided_search(generator, starts, RULES, options)
    except MemoryError:
        assert limit < 1000
        assert (generator.pages, generator.sequences) == (0, {})
        return
    assert sorted(generator.sequences) == sorted(reply.sequence for reply in replies)
    for reply, length in zip(replies, prompts, strict=False):
        assert generator.sequences[reply.sequence].tokens == [*range(-length, 0), *reply.tokens]
        assert len(reply.tokens) <= max_tokens
        assert all(choice.winner is not None for choice in reply.choices[:-1])
        assert not any(all(choice.broken) for choice in reply.choices[:-1])
    generator.free([reply.sequence for reply in replies])
    assert (generator.pages, generator.holders) == (0, {})


@pytest.mark.parametrize("kind", ["thresholds", "penalties", "rewards"])
def test_a_missing_head_is_an_error_before_anything_is_decoded(kind: str) -> None:
    rule = {
        "thresholds": Threshold("annotations_racism", 0.1),
        "penalties": Penalty("annotations_racism", 0.1, 10.0),
        "rewards": Reward("annotations_racism"),
    }[kind]
    generator = FakeGenerator(["annotations_racist"], constant((0.0,)))
    start = generator.start(6)
    with pytest.raises(ValueError, match=kind + r".*no head 'annotations_racism'"):
        guided_search(generator, [start], Rules(**{kind: (rule,)}))
    assert (generator.decodes, generator.pages) == ([], 0)


def test_a_nan_passes_no_threshold() -> None:
    generator = FakeGenerator(NAMES, constant((0.5, float("nan"), 0.0)))
    start = generator.start(6)
    with pytest.raises(ValueError, match="metrics: must be probabilities"):
        guided_search(generator, [start], RULES, SearchOptions(candidates=1))
    assert (generator.pages, generator.sequences) == (0, {})


class Broken(FakeGenerator):
    """Gives something else than it was asked for."""

    tokens: Sequence[Sequence[int]] = ()
    children: Sequence[Sequence[int]] | None = None

    def fork(self, sequences: Sequence[int], count: int) -> list[list[int]]:
        groups = super().fork(sequences, count)
        return [group[:-1] for group in groups] if self.children == () else groups

    def decode(self, sequences: Sequence[int], steps: int) -> Decoded:
        count = len(self.tokens)
        return Decoded(self.tokens, [False] * count, torch.zeros((count, len(NAMES))))


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        ([[1] * 16], "decode: must give tokens, ends and metrics of 2 candidates"),
        ([[1] * 16, [1] * 15], "decode: gave 15 tokens, must be 16 or reach an end"),
        ([[1] * 17, [1] * 16], "decode: gave 17 tokens, must be 16"),
        ([[], [1] * 16], "decode: gave 0 tokens"),
    ],
)
def test_a_generator_must_give_what_it_is_asked(tokens: list[list[int]], says: str) -> None:
    generator = Broken(NAMES, constant())
    generator.tokens = tokens
    start = generator.start(6)
    with pytest.raises(ValueError, match=re.escape(says)):
        guided_search(generator, [start], RULES, SearchOptions(candidates=2))
    assert generator.pages == 0


def test_a_generator_must_fork_as_often_as_it_is_asked() -> None:
    generator = Broken(NAMES, constant())
    generator.children = ()
    start = generator.start(6)
    with pytest.raises(ValueError, match="fork: must give 3 sequences for each of 1"):
        guided_search(generator, [start], RULES)


def test_a_sequence_is_searched_once() -> None:
    generator = FakeGenerator(NAMES, constant())
    start = generator.start(6)
    with pytest.raises(ValueError, match="sequences: must differ"):
        guided_search(generator, [start, start], RULES)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"candidates": 0}, "candidates: is 0, must be a number from 1"),
        ({"chunk": -1}, "chunk: is -1"),
        ({"max_tokens": 2.5}, "max_tokens: is 2.5, must be a whole number"),
        ({"when_all_filtered": "ignore"}, "when_all_filtered: is 'ignore', must be one of flag"),
    ],
)
def test_bad_options_are_told(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        SearchOptions(**options)


def test_a_generator_that_breaks_midway_loses_nothing() -> None:
    def script(number: int, root: int, candidate: int) -> Said:
        if number == 2:
            raise RuntimeError("device lost")
        return Said((0.5, 0, 0))

    generator = FakeGenerator(NAMES, script)
    starts = [generator.start(6), generator.start(7)]
    with pytest.raises(RuntimeError, match="device lost"):
        guided_search(generator, starts, RULES)
    assert (generator.pages, generator.sequences) == (0, {})
