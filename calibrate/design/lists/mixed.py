"""Random mixed steps: those that judge the fit (held out), and others of the same law to fit with.

The law, the same for both, from different seeds:

- decodes: none in a tenth of the steps, else log-uniform from 1 to 256;
- contexts: from 64 to 16384. In three steps of four all lie near a scale that is log-uniform (their
  logarithm is normal around it, standard deviation 0.35), in the fourth each is log-uniform itself;
- chunks: 0 to 4 (weights 2, 4, 2, 1, 1); new tokens log-uniform from 16 to 1024, cut so that the
  step has at most 2048 rows; cached none in a quarter, else log-uniform from 1 to 12288; six in ten
  end their prompt;
- a step with nothing in it, that the engine cannot hold, or (held out) that the fit has, is drawn
  again.
"""

from collections.abc import Collection, Iterator
from random import Random

from calibrate.design.capacity import Capacity
from calibrate.design.draws import generator, log_uniform, near
from calibrate.design.item import EARLY, KEEP, LATE, Set, StepItem, kind_of
from calibrate.shapes import Chunk, StepShape

HELD_OUT_LEAST = 300
"""Held-out steps that are never dropped, unless the user asks for another number."""
SPARE = 1.15
"""So many times as many are planned."""
FIT = 240
MOST_DECODES, MOST_ROWS = 256, 2048
LEAST_CONTEXT, MOST_CONTEXT = 64, 16384
LEAST_NEW, MOST_NEW, MOST_CACHED = 16, 1024, 12288
TRIES = 50


def random_decodes(rng: Random) -> tuple[int, ...]:
    """Contexts of a step's decodes."""
    if rng.random() < 0.1:
        return ()
    batch = log_uniform(rng, 1, MOST_DECODES)
    scale = log_uniform(rng, LEAST_CONTEXT, MOST_CONTEXT)
    if rng.random() < 0.75:
        return tuple(near(rng, scale, LEAST_CONTEXT, MOST_CONTEXT) for _ in range(batch))
    return tuple(log_uniform(rng, LEAST_CONTEXT, MOST_CONTEXT) for _ in range(batch))


def random_chunks(rng: Random, room: int) -> tuple[Chunk, ...]:
    """Chunks of a step that has room for so many rows."""
    count = rng.choices(range(5), (2, 4, 2, 1, 1))[0]
    chunks = []
    for _ in range(count):
        new = min(log_uniform(rng, LEAST_NEW, MOST_NEW), room)
        cached = 0 if rng.random() < 0.25 else log_uniform(rng, 1, MOST_CACHED)
        chunk = Chunk(new, cached, rng.random() < 0.6)
        if new >= LEAST_NEW:
            chunks.append(chunk)
            room -= new
    return tuple(chunks)


def random_step(rng: Random, capacity: Capacity, taken: Collection[StepShape]) -> StepShape | None:
    """A step of the law that is not taken; None if the engine holds none of many drawn."""
    for _ in range(TRIES):
        decodes = random_decodes(rng)
        shape = StepShape(decodes, random_chunks(rng, MOST_ROWS - len(decodes)))
        if shape.rows and shape not in taken and capacity.holds(shape):
            return shape
    return None


def random_steps(
    name: str,
    count: int,
    of: Set,
    capacity: Capacity,
    taken: Collection[StepShape] = (),
    least: int = HELD_OUT_LEAST,
) -> Iterator[StepItem]:
    """Steps of the law, none of those `taken`; the held-out ones are kept but for a few spares."""
    rng = generator(name)
    for number in range(count):
        shape = random_step(rng, capacity, taken)
        if shape is None:
            return
        if of == "heldout":
            rank = KEEP if number < least else LATE
        else:
            rank = LATE if number < count // 2 else EARLY
        yield StepItem(f"{name}/{number:03}", of, kind_of(shape), shape, rank)
