"""Names from tokens: a name never stands for two texts, and what was said is found again."""

from random import Random

import numpy as np
from serving_crowd import MS, Crowd, Message
from serving_limits import STRIDE, constant_curves, limits_with
from serving_twin import serve

from calibrate.engine.memory.pages import Piece
from calibrate.engine.requests import Request, State
from calibrate.engine.server.names import Namer

BLOCK = 4


def ints(*tokens: int) -> "np.ndarray[tuple[int], np.dtype[np.int32]]":
    return np.array(tokens, np.int32)


def test_a_dialogue_is_one_stream_and_one_that_parts_from_it_gets_another() -> None:
    namer = Namer(BLOCK, STRIDE)
    first = namer.name(ints(*range(10)))
    assert first.path == (Piece(1, 2),)
    beside = namer.name(ints(*range(10)))  # while the first is answered
    assert beside.path == (Piece(1, 2), Piece(2, 0))
    namer.learn(first, ints(*range(15)))  # three whole blocks
    assert namer.name(ints(*range(13))).path == (Piece(1, 3),)
    parted = namer.name(ints(*range(4), 9, 9, 9, 9, 9))
    assert parted.path == (Piece(1, 1), Piece(3, 1))


def test_an_answer_that_was_said_before_has_the_names_of_the_first() -> None:
    namer = Namer(BLOCK, STRIDE)
    one, two = namer.name(ints(*range(5))), namer.name(ints(*range(5)))
    namer.learn(one, ints(*range(9)))
    namer.learn(two, ints(*range(17)))
    assert namer.name(ints(*range(17))).path == (Piece(1, 4),)


def test_nobody_goes_on_where_the_cache_has_what_the_names_do_not_know() -> None:
    """An answer that said what another one has said, or was cancelled: its blocks are in the cache
    by a name that another text must not get."""
    for alike in (True, False):
        namer, prompt = Namer(BLOCK, STRIDE), [*range(9)]
        one, two = namer.name(ints(*prompt)), namer.name(ints(*prompt))
        if alike:
            namer.learn(two, ints(*prompt, *[50] * 8))
        namer.learn(one, ints(*prompt, *[50] * (8 if alike else 1)), whole=alike)
        other = namer.name(ints(*prompt, *[60] * 8))
        assert other.path == (Piece(1, 2), Piece(3, 2))


def test_a_path_that_parts_too_often_ends_in_a_stream_of_its_own() -> None:
    namer = Namer(1, 3)
    for length in range(2, 7):
        namer.name(ints(*range(length), 99))
    named = namer.name(ints(*range(6), 98))
    assert len(named.path) == 3
    assert sum(piece.blocks for piece in named.path) == 7
    assert named.stream == -1
    namer.learn(named, ints(*range(6), 98, 1, 2))


def test_what_is_forgotten_gets_new_names() -> None:
    namer = Namer(BLOCK, STRIDE, most=4)
    old = namer.name(ints(*range(20)))
    new = namer.name(ints(*range(4)))
    namer.learn(old, ints(*range(30)))
    third = namer.name(ints(*range(12)))
    streams = [{piece.stream for piece in named.path} for named in (old, new, third)]
    assert not streams[0] & (streams[1] | streams[2])
    assert [piece.blocks for piece in third.path] == [1, 2]


def test_one_name_one_text() -> None:
    """Random texts over few words, many under way at once: each name's block has one text and
    one block before it."""
    draw, namer = Random(4), Namer(2, 6)
    texts: dict[tuple[int, int], tuple[int, ...]] = {}
    live = []

    def note(path: tuple[Piece, ...], tokens: list[int]) -> None:
        at = 0
        for stream, blocks in path:
            for i in range(blocks):
                at += 1
                assert texts.setdefault((stream, i), tuple(tokens[: 2 * at])) == tuple(
                    tokens[: 2 * at]
                )

    for _ in range(1500):
        prompt = [draw.randrange(2) for _ in range(draw.randrange(1, 16))]
        live.append((namer.name(np.array(prompt, np.int32)), prompt))
        note(live[-1][0].path, prompt)
        while len(live) > 5 or (live and draw.random() < 0.4):
            named, prompt = live.pop(draw.randrange(len(live)))
            whole = prompt + [draw.randrange(2) for _ in range(draw.randrange(8))]
            namer.learn(named, np.array(whole, np.int32))
            grown = len(whole) // 2 - sum(piece.blocks for piece in named.path)
            last = named.path[-1]
            note((*named.path[:-1], Piece(last.stream, last.blocks + grown)), whole)
    assert len(texts) > 500


def test_prompts_named_by_their_tokens_are_answered_right() -> None:
    """Random dialogues, named from tokens as they come: hits, and no page is mistaken."""
    limits = limits_with()
    crowd = Crowd(5, limits, dialogues=20, span_ns=6000 * MS)
    namer, messages, under_way = Namer(BLOCK, STRIDE), [], []
    for message in crowd.messages:
        for other in [o for o in under_way if o[0] < message.at - 2000 * MS]:
            under_way.remove(other)
            namer.learn(other[1], other[2])
        named = namer.name(message.request.tokens)
        whole = np.concatenate([message.request.tokens, np.array(message.answer[:-1], np.int32)])
        under_way.append((message.at, named, whole))
        request = Request(message.request.tokens, message.request.most, named.path)
        messages.append(Message(message.at, request, message.answer, message.order))
    served = serve(limits, constant_curves(), 150, messages)
    for answer, message in zip(served.answers, messages, strict=True):
        assert answer.state is State.DONE
        assert answer.tokens == message.answer
    assert sum(event.value > 0 for event in served.log if event.what == "admit") > 20
