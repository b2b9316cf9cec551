"""`python -m benchmarks.engine_host`: a table of host times by number of sequences (one core).

`engine` is what the serving engine takes beside its executor, in a step in which all decode;
`staging` what the executor takes to put the step's integers in place (it needs torch, no GPU).
"""

import argparse
import sys
from importlib.util import find_spec

import numpy as np

from benchmarks.engine_host.decoding import Run, nothing, step_times

SEQUENCES = (8, 52, 128, 256)


def executor() -> Run:
    """One that stages steps, if there is torch."""
    if find_spec("torch") is None:
        return nothing
    from benchmarks.engine_host.staging import make_staging

    return make_staging()


def main(steps: int) -> None:
    """Print the table."""
    names = [f"{part} {p}" for part in ("engine", "staging") for p in ("p50", "p99")]
    head = "".join(f"{name:>13}" for name in names)
    sys.stdout.write(f"{'sequences':>9}{head}   (ms)\n")
    for sequences in SEQUENCES:
        found = np.quantile(step_times(sequences, steps, executor()), (0.5, 0.99), axis=1)
        row = "".join(f"{ms:13.3f}" for ms in found.T.ravel())
        sys.stdout.write(f"{sequences:9}{row}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000, help="steps of each row")
    main(parser.parse_args().steps)
