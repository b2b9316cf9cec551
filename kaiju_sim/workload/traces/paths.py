"""Prefix paths: block ids as runs, so that a cache can match and store a prompt run by run.

A row's ids are a walk down a tree of prefixes. A `stream` is a chain of that tree: it starts
where a new prefix branches off and goes on as long as each block is the first child of the one
before. A row is then a short list of runs `(stream, blocks)`: the first `blocks` blocks of each
stream that it enters. Two rows share exactly the leading runs that are equal, plus the smaller
count of the next one if its stream is the same.

A block is identified by everything in front of it, not by its id alone: an id that appears behind
two different prefixes is two blocks.
"""

from array import array
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kaiju_sim.workload.traces.model import Ints, Trace


@dataclass(frozen=True, slots=True, eq=False)
class PrefixPaths:
    """The runs of all rows: row `i` owns `run_offsets[i]:run_offsets[i + 1]` of the run columns."""

    run_stream: Ints
    """Stream of each run."""
    run_blocks: npt.NDArray[np.int32]
    """Leading blocks of the stream that the row covers, at least 1."""
    run_offsets: Ints
    """Start of each row's runs, and the end of the last (rows + 1 values)."""
    stream_blocks: Ints
    """Length of each stream: the most blocks of it that any row covers."""

    @property
    def streams(self) -> int:
        """Number of streams."""
        return len(self.stream_blocks)

    def row(self, index: int) -> list[tuple[int, int]]:
        """The runs of one row, as (stream, blocks)."""
        part = slice(self.run_offsets[index], self.run_offsets[index + 1])
        pairs = zip(self.run_stream[part].tolist(), self.run_blocks[part].tolist(), strict=True)
        return list(pairs)


class _Tree:
    """The prefix tree while it grows; a node is a block, numbered as it appears."""

    def __init__(self) -> None:
        self.child: dict[tuple[int | None, int], int] = {}
        self.stream = array("q")
        self.depth = array("q")
        self.length = array("q")

    def grow(self, parent: int | None, block: int) -> int:
        """A new node under `parent` (none: a first block); extends a stream that ends there."""
        node = len(self.stream)
        self.child[parent, block] = node
        if parent is not None and self.depth[parent] == self.length[self.stream[parent]]:
            stream = self.stream[parent]
            self.length[stream] += 1
        else:
            stream = len(self.length)
            self.length.append(1)
        self.stream.append(stream)
        self.depth.append(self.length[stream])
        return node


def prefix_paths(trace: Trace) -> PrefixPaths:
    """The prefix paths of a trace; rows without block ids get no runs."""
    tree = _Tree()
    run_stream, run_blocks, run_ends = array("q"), array("i"), array("q", [0])
    for blocks in trace.row_blocks():
        _walk(tree, blocks, run_stream, run_blocks)
        run_ends.append(len(run_stream))
    return PrefixPaths(
        run_stream=np.array(run_stream, dtype=np.int64),
        run_blocks=np.array(run_blocks, dtype=np.int32),
        run_offsets=np.array(run_ends, dtype=np.int64),
        stream_blocks=np.array(tree.length, dtype=np.int64),
    )


def kv_blocks(paths: PrefixPaths, trace: Trace, block_tokens: int) -> Ints:
    """KV blocks of each run where a trace's blocks are chunks of various sizes.

    A KV block belongs to the run that its last token lies in: it is then known by the stream and
    its place there, since every prompt that enters a stream enters it at the same token.
    """
    ends = np.concatenate([[0], np.cumsum(trace.lengths())])
    run_ends = ends[np.cumsum(paths.run_blocks)]
    runs = np.diff(paths.run_offsets)
    row_starts = np.repeat(ends[_offsets(trace)[:-1]], runs)
    starts = np.concatenate([[0], run_ends])[:-1]
    return np.asarray(
        (run_ends - row_starts) // block_tokens - (starts - row_starts) // block_tokens
    )


def _offsets(trace: Trace) -> Ints:
    return (
        np.zeros(trace.rows + 1, np.int64) if trace.block_offsets is None else (trace.block_offsets)
    )


def _walk(
    tree: _Tree, blocks: list[int], run_stream: "array[int]", run_blocks: "array[int]"
) -> None:
    """Follow one row down the tree, growing it, and append the row's runs."""
    find, stream_of = tree.child.get, tree.stream
    node: int | None = None
    last: int | None = None
    for block in blocks:
        found = find((node, block))
        node = tree.grow(node, block) if found is None else found
        stream = stream_of[node]
        if stream == last:
            run_blocks[-1] += 1
        else:
            run_stream.append(stream)
            run_blocks.append(1)
            last = stream
