"""Write the example trace that ships with the project: dialogues with a shared head, made up.

    python scripts/example_trace.py > scenarios/traces/example.jsonl

Poisson sessions (0.6/s over nine minutes) of geometric length talk to 40 characters by Zipf's law.
A prompt is a head of the character (1-4 blocks of 512 tokens), then the dialogue so far; block ids
are chained, as in the Mooncake format.
"""

import json
import sys

import numpy as np

BLOCK = 512


def main() -> None:
    """Print the rows in order of time."""
    draw = np.random.default_rng(20261122)
    ids: dict[tuple[object, ...], int] = {}
    share = np.arange(1, 41) ** -0.9
    rows = []
    at = 0.0
    session = 0
    while (at := at + draw.exponential(1 / 0.6)) < 540:
        session += 1
        rows += dialogue(draw, ids, session, at, int(draw.choice(40, p=share / share.sum())))
    for row in sorted(rows, key=lambda r: r["timestamp"]):
        sys.stdout.write(json.dumps(row) + "\n")


def dialogue(
    draw: np.random.Generator, ids: dict[tuple[object, ...], int], who: int, at: float, char: int
) -> list[dict[str, object]]:
    """The rows of one dialogue."""
    head = BLOCK * (1 + char % 4)
    length = head + int(draw.lognormal(5.0, 0.8)) + 1
    rows: list[dict[str, object]] = []
    for _ in range(int(draw.geometric(0.2))):
        if at > 540 or length > 100_000:
            break
        out = int(min(1500, draw.lognormal(5.4, 0.6))) + 1
        rows.append(row(ids, who, at, char, head, length, out))
        length += out + int(draw.lognormal(3.8, 0.8)) + 1
        at += out * 0.02 + draw.exponential(25.0)
    return rows


def row(
    ids: dict[tuple[object, ...], int],
    who: int,
    at: float,
    char: int,
    head: int,
    length: int,
    out: int,
) -> dict[str, object]:
    """One request: a partial last block has an id of its own."""
    blocks = []
    for i in range(-(-length // BLOCK)):
        full = (i + 1) * BLOCK <= length
        owner = ("char", char) if (i + 1) * BLOCK <= head else ("session", who)
        key = (*owner, i) if full else (*owner, i, length)
        blocks.append(ids.setdefault(key, len(ids)))
    return {
        "timestamp": int(at * 1000),
        "input_length": length,
        "output_length": out,
        "hash_ids": blocks,
    }


if __name__ == "__main__":
    main()
