"""Names for the blocks of prompts that come as tokens only: same prefix, same names.

Policy's cache knows blocks by stream and position, which the simulator's world gives. A real client
sends tokens. So whole blocks of tokens are kept in a tree; a block that follows another one goes on
in its stream, and where texts part a new stream begins. Names are never used twice.

An answer's blocks go on in the last stream of its prompt, if that ends there and no other answer
under way goes on in it, else in a new one. When the answer is over the tree learns its blocks, so
the dialogue's next prompt finds them.
"""

import threading
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate.engine.memory.pages import Piece

Tokens = NDArray[np.int32]


class Named(NamedTuple):
    """A prompt's path, and where its answer will be learned."""

    path: tuple[Piece, ...]
    last: int
    """The tree's block that the answer's follow; -1: none stands before."""
    stream: int
    """Where they go on; -1: they are not learned."""
    tree: int
    """Which tree that is."""


class Tree:
    """Blocks by what stands before them, and their places: each the end of so many of a stream."""

    def __init__(self) -> None:
        self._blocks: dict[tuple[int, bytes], int] = {}
        self.places: list[Piece] = []
        self._lengths: dict[int, int] = {}

    def find(self, before: int, tokens: bytes) -> int:
        """The block with these tokens behind block `before` (-1: the first), or -1."""
        return self._blocks.get((before, tokens), -1)

    def enter(self, before: int, tokens: bytes, stream: int) -> int:
        """A new block, the next of that stream."""
        length = self._lengths.get(stream, 0) + 1
        self._lengths[stream] = length
        self.places.append(Piece(stream, length))
        self._blocks[before, tokens] = len(self.places) - 1
        return len(self.places) - 1

    def close(self, stream: int) -> None:
        """Nobody goes on in this stream: behind its last block here, the cache has others."""
        self._lengths[stream] = -1

    def ends_stream(self, block: int) -> bool:
        """Whether it is the last one of its stream so far."""
        return self._lengths[self.places[block].stream] == self.places[block].blocks

    def path(self, blocks: list[int]) -> tuple[Piece, ...]:
        """The streams on the way along these blocks, each up to where it is left."""
        ends: dict[int, Piece] = {}
        for block in blocks:
            ends[self.places[block].stream] = self.places[block]
        return tuple(ends.values())


class Namer:
    """Gives names; may be used from several threads."""

    def __init__(self, block: int, pieces: int, most: int = 1 << 20) -> None:
        """`block`: its tokens; `pieces`: of a path at most; `most`: blocks that are remembered.
        When they are more, all is forgotten: later prompts get new names, old ones leave the cache
        as any that nobody asks for."""
        self._block, self._pieces, self._most = block, pieces, most
        self._lock = threading.Lock()
        self._tree, self._trees = Tree(), 0
        self._streams = 0
        self._taken: set[int] = set()
        """Streams that an answer under way goes on in."""

    def name(self, tokens: Tokens) -> Named:
        """Names of a prompt's whole blocks. `learn` has to be called when its answer is over."""
        with self._lock:
            if len(self._tree.places) > self._most:
                self._tree, self._trees = Tree(), self._trees + 1
            way = self._way(tokens)
            path, last = self._tree.path(way), way[-1] if way else -1
            if len(path) >= self._pieces:  # parted too often: what follows is nobody else's
                path = path[: self._pieces - 1]
                rest = len(way) - sum(piece.blocks for piece in path)
                return Named((*path, Piece(self._new(), rest)), -1, -1, self._trees)
            if way and self._goes_on(last):
                stream = path[-1].stream
            else:
                stream = self._new()
                path = (*path, Piece(stream, 0))
            self._taken.add(stream)
            return Named(path, last, stream, self._trees)

    def learn(self, named: Named, tokens: Tokens, *, whole: bool = True) -> None:
        """An answer is over: `tokens` are prompt and answer but for the last one, whose KV was
        never computed. `whole`: the cache has no more of it by this name."""
        with self._lock:
            self._taken.discard(named.stream)
            if named.stream < 0 or named.tree != self._trees:
                return
            at = named.last
            known = sum(piece.blocks for piece in named.path)
            for text in self._texts(tokens[known * self._block :]):
                if self._tree.find(at, text) >= 0:  # another answer has said the same
                    whole = False
                    break
                at = self._tree.enter(at, text, named.stream)
            if not whole:
                self._tree.close(named.stream)

    def _way(self, tokens: Tokens) -> list[int]:
        """The tree's blocks along a prompt; those that are new are entered."""
        at, way = -1, list[int]()
        for text in self._texts(tokens):
            following = self._tree.find(at, text)
            if following < 0:
                goes_on = at >= 0 and self._goes_on(at)
                stream = self._tree.places[at].stream if goes_on else self._new()
                following = self._tree.enter(at, text, stream)
            at = following
            way.append(at)
        return way

    def _texts(self, tokens: Tokens) -> Iterator[bytes]:
        for i in range(len(tokens) // self._block):
            yield tokens[i * self._block : (i + 1) * self._block].tobytes()

    def _goes_on(self, block: int) -> bool:
        """Whether a block's stream ends with it and no answer goes on there."""
        free = self._tree.places[block].stream not in self._taken
        return free and self._tree.ends_stream(block)

    def _new(self) -> int:
        self._streams += 1
        return self._streams
