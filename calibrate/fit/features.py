"""What a step's time depends on, counted by the functions that the simulator counts with."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from calibrate.shapes import StepShape
from kaiju_sim.engine.policy.pacing import (
    Batch,
    attention_ns,
    no_work,
    rounds_of,
    with_chunk,
)
from kaiju_sim.steptime.curves import Curves, decode_ns, fixed_ns, step_ns

Ints = NDArray[np.int64]
CURVES = (
    "rows",
    "seqs",
    "decode_global",
    "decode_local",
    "prefill_global",
    "prefill_local",
    "decode_each",
)
"""The terms of a step, in the order of the columns of `features_of`."""


class Card(NamedTuple):
    """What features depend on beside the step."""

    window: int
    """Attention window of the local layers (0: there are none)."""
    round_tokens: int
    """New tokens that prefill attention takes at a time (0: any number is alike)."""


def batch_of(shape: StepShape, card: Card) -> Batch:
    """The step's prefill work as the engine's loop adds it up."""
    batch = no_work()
    for chunk in shape.chunks:
        batch = with_chunk(batch, chunk.cached, chunk.new, card.window, card.round_tokens)
    return batch


def features_of(shapes: Sequence[StepShape], card: Card) -> Ints:
    """What each curve is read at, by step: [steps, curves]."""
    rows = [
        (
            shape.rows,
            shape.seqs,
            shape.context,
            shape.window(card.window),
            *rounds_of(batch_of(shape, card), card.round_tokens),
            shape.window(card.window) // max(1, len(shape.decodes)),
        )
        for shape in shapes
    ]
    return np.array(rows, np.int64).reshape(len(rows), len(CURVES))


def predicted_s(curves: Curves, shape: StepShape, window: int) -> float:
    """Seconds that the simulator takes for a step."""
    batch = batch_of(shape, Card(window, int(curves.rounds[0])))
    fixed = fixed_ns(curves, shape.rows, shape.seqs)
    decode = decode_ns(curves, shape.context, shape.window(window), len(shape.decodes))
    return step_ns(fixed, decode, attention_ns(curves, batch, 0)) / 1e9
