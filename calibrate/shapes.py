"""What one engine step computes: the shape that is measured, fitted and predicted.

A step is D decode rows, then the rows of its prefill chunks. Its features are counted by the
simulator's own functions (`kaiju_sim.engine.policy.pacing`), so that a fitted curve is read at
exactly the number at which it was fitted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from kaiju_sim.engine.policy.pacing import near_pairs_of, pairs_of


class Chunk(NamedTuple):
    """Prompt tokens of one sequence that a step computes."""

    new: int
    """Tokens computed, at least 1."""
    cached: int
    """Tokens before them, whose keys and values are in the cache."""
    last: bool = True
    """Whether they end their prompt: then the sequence samples a token."""


@dataclass(frozen=True)
class StepShape:
    """One step. Every number is in tokens, rows or query-key pairs."""

    decodes: tuple[int, ...] = ()
    """Keys that each decode row sees, the one of the new token included."""
    chunks: tuple[Chunk, ...] = ()
    """Prefill, one chunk a sequence."""
    shared_group: int = 1
    """Decodes in groups of so many, one after the other, share their first pages."""
    shared_tokens: int = 0
    """How many tokens each such group shares: whole pages of 128."""

    @property
    def rows(self) -> int:
        """Token rows: one a decode, one a new prompt token."""
        return len(self.decodes) + sum(chunk.new for chunk in self.chunks)

    @property
    def seqs(self) -> int:
        """Sequences that sample: decodes, and chunks that end their prompt."""
        return len(self.decodes) + sum(chunk.last for chunk in self.chunks)

    @property
    def context(self) -> int:
        """Keys that decodes see in a global layer."""
        return sum(self.decodes)

    def window(self, window: int) -> int:
        """Keys that decodes see in a local layer of this window."""
        return sum(min(context, window) for context in self.decodes)

    @property
    def pairs(self) -> int:
        """Query-key pairs of prefill in a global layer."""
        return sum(pairs_of(chunk.cached, chunk.new) for chunk in self.chunks)

    def near(self, window: int) -> int:
        """Query-key pairs of prefill in a local layer of this window."""
        return sum(near_pairs_of(chunk.cached, chunk.new, window) for chunk in self.chunks)

    @property
    def longest(self) -> int:
        """Tokens of the longest sequence, after the step; 0 of an empty step."""
        ends = [chunk.cached + chunk.new for chunk in self.chunks]
        return max([*self.decodes, *ends], default=0)


class EngineStep(NamedTuple):
    """A step of the serving engine, and what it took."""

    period_s: float
    """From the end of the step before to its own: the engine's loop, once."""
    step_s: float
    """Of these, from launch to tokens: what is measured of a step that was prepared."""
    decodes: int
    filling: int
    """Prompts under way, computed in this step or not."""
    chunks: int
    rows: int
    """New prompt tokens."""
    after_ns: int
    """Of the period, what came after the step's tokens."""


class Limits(NamedTuple):
    """What an engine can hold."""

    max_rows: int
    """Token rows of a step (decodes and new prompt tokens), padding included."""
    max_decodes: int
    """Decode rows of a step."""
    max_context: int
    """Tokens of a sequence."""


def shape_columns(shape: StepShape) -> dict[str, Any]:
    """The shape as columns of the samples' table."""
    return {
        "decodes": list(shape.decodes),
        "chunk_new": [chunk.new for chunk in shape.chunks],
        "chunk_cached": [chunk.cached for chunk in shape.chunks],
        "chunk_last": [chunk.last for chunk in shape.chunks],
        "shared_group": shape.shared_group,
        "shared_tokens": shape.shared_tokens,
    }


def shape_of(row: Mapping[str, Any]) -> StepShape:
    """The shape of a row of that table."""
    chunks = zip(row["chunk_new"], row["chunk_cached"], row["chunk_last"], strict=True)
    return StepShape(
        decodes=tuple(row["decodes"]),
        chunks=tuple(Chunk(*chunk) for chunk in chunks),
        shared_group=row["shared_group"],
        shared_tokens=row["shared_tokens"],
    )
