"""A workload as data: when each message arrives, what it asks for, and the names of its blocks.

It is made once, from a seed, saved beside the samples, and then given to the engine and to the
simulator alike. Names (streams of blocks) say what prompts share; a prompt's tokens follow from
its names alone, so equal names mean equal tokens.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from calibrate.engine.memory.pages import Piece
from kaiju_sim.errors import UserError
from kaiju_sim.report.atomic import write_file

Ints = NDArray[np.int64]
Path_ = tuple[Piece, ...]

SCHEMA = pa.schema(
    {
        "arrival_ns": pa.int64(),
        "prompt": pa.int32(),
        "output": pa.int32(),
        "session": pa.int64(),
        "turn": pa.int32(),
        "warm": pa.bool_(),
        "streams": pa.list_(pa.int32()),
        "blocks": pa.list_(pa.int32()),
    }
)
"""`warm`: not a message, but a prompt that the cache holds before the first one arrives."""
RECIPE = b"recipe"
TOKEN_POOL = 1 << 20


class Message(NamedTuple):
    """One request."""

    arrival_ns: int
    """When it is due, from the workload's beginning."""
    prompt: int
    """Tokens."""
    output: int
    """Tokens; the answer has exactly so many."""
    session: int
    turn: int
    path: Path_
    """Names of the prompt's whole blocks; the answer's go on in the last piece's stream."""


@dataclass(frozen=True)
class Workload:
    """Messages in order of arrival, and what the cache holds before them."""

    messages: Sequence[Message]
    warm: Sequence[Message] = ()
    """In the order in which they are remembered; arrival and output mean nothing."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """What it was made from: name, seed, seconds, rate and so on. JSON."""

    @property
    def name(self) -> str:
        """Of the kind of workload."""
        return str(self.recipe["name"])

    @property
    def seconds(self) -> float:
        """Arrivals lie in [0, seconds)."""
        return float(self.recipe["seconds"])

    @property
    def warm_s(self) -> float:
        """Messages that arrive before this are served and not counted."""
        return float(self.recipe["warm_s"])

    @property
    def pieces(self) -> int:
        """The most pieces that a path has, at least 1."""
        return max([1, *(len(m.path) for m in (*self.messages, *self.warm))])

    @property
    def arrivals_ns(self) -> Ints:
        """When each message is due."""
        return np.array([m.arrival_ns for m in self.messages], np.int64)

    @property
    def outputs(self) -> Ints:
        """Tokens of each answer."""
        return np.array([m.output for m in self.messages], np.int64)

    def digest(self) -> str:
        """Of all that the engine and the simulator are given."""
        hashed = hashlib.sha256()
        for m in (*self.warm, *self.messages):
            hashed.update(repr((m.arrival_ns, m.prompt, m.output, tuple(m.path))).encode())
        return hashed.hexdigest()[:16]


class Names:
    """Streams by number, in the order in which they are first seen."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}

    def of(self, stream: int) -> int:
        """The number of a stream."""
        return self._known.setdefault(stream, len(self._known))


class Tokens:
    """Token ids of prompts, from names: the same names have the same tokens."""

    def __init__(self, vocab: int, block: int, seed: int = 0) -> None:
        """`block`: tokens that a name stands for."""
        pool = np.random.default_rng(seed).integers(0, vocab, TOKEN_POOL + block)
        self._pool, self._block = pool.astype(np.int32), block

    def of(self, message: Message, number: int) -> NDArray[np.int32]:
        """A message's prompt; what has no name is made from its number."""
        streams = [np.full(piece.blocks, piece.stream, np.uint64) for piece in message.path]
        places = [np.arange(piece.blocks, dtype=np.uint64) for piece in message.path]
        named = sum(piece.blocks for piece in message.path)
        own = -(-message.prompt // self._block) - named
        streams.append(np.full(own, (1 << 40) + number, np.uint64))
        places.append(np.arange(own, dtype=np.uint64))
        at = _mixed(np.concatenate(streams), np.concatenate(places)) % np.uint64(TOKEN_POOL)
        rows = self._pool[at.astype(np.int64)[:, None] + np.arange(self._block)]
        return np.asarray(rows.ravel()[: message.prompt])


def _mixed(stream: NDArray[np.uint64], place: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A hash of a stream and a place in it (splitmix64's finaliser)."""
    step = (place + np.uint64(1)) * np.uint64(0xD1B54A32D192ED03)
    x = stream * np.uint64(0x9E3779B97F4A7C15) + step
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> np.uint64(31)))


def write_workload(file: Path, workload: Workload) -> None:
    """Write it, whole or not at all."""
    rows = [*((True, m) for m in workload.warm), *((False, m) for m in workload.messages)]
    table = pa.Table.from_pydict(
        {
            **{name: [getattr(m, name) for _, m in rows] for name in SCHEMA.names[:5]},
            "warm": [is_warm for is_warm, _ in rows],
            "streams": [[piece.stream for piece in m.path] for _, m in rows],
            "blocks": [[piece.blocks for piece in m.path] for _, m in rows],
        },
        SCHEMA.with_metadata({RECIPE: json.dumps(workload.recipe, sort_keys=True).encode()}),
    )
    buffer = BytesIO()
    pq.write_table(table, buffer, compression="zstd", compression_level=15)
    write_file(file, buffer.getvalue())


def read_workload(file: Path) -> Workload:
    """A saved workload; UserError if it is none."""
    try:
        table = pq.read_table(file)
        recipe = json.loads(table.schema.metadata[RECIPE])
        rows = [_message(row) for row in table.to_pylist()]
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError) as error:
        raise UserError(f"is not a workload: {error}", file) from error
    warm = [m for is_warm, m in rows if is_warm]
    return Workload([m for is_warm, m in rows if not is_warm], warm, recipe)


def _message(row: Mapping[str, Any]) -> tuple[bool, Message]:
    path = tuple(Piece(s, n) for s, n in zip(row["streams"], row["blocks"], strict=True))
    return bool(row["warm"]), Message(
        row["arrival_ns"], row["prompt"], row["output"], row["session"], row["turn"], path
    )
