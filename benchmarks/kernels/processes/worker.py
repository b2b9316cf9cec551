"""Measures cases in a process of its own, since an illegal access or a hang takes a process down.

It prints one JSON object a line, which `benchmarks.kernels.processes.supervisor` reads:
`{"about": ...}`, then for each case `{"begin": name}` and
`{"rows": ..., "samples": ..., "failures": ...}`.
"""

import gc
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from benchmarks.kernels import store
from benchmarks.kernels.cases import Case, every_case, shape_json
from benchmarks.kernels.gpu import CudaClock, Watch, described, device_id
from benchmarks.kernels.inputs import ROTATED_BYTES, build
from benchmarks.kernels.ours import OPERATORS
from benchmarks.kernels.peers import PEERS
from benchmarks.kernels.timing import (
    Clock,
    Contender,
    Replay,
    Samples,
    quantile,
    side_by_side,
)

Found = dict[str, Any]
CONTENDER_S = 25.0
"""The most that one implementation may take to be compiled, checked and recorded."""


def contenders(case: Case, sets: Any, failures: list[str]) -> Iterator[Contender]:
    """Ours, then the peers that are there. Who cannot be set up is noted and left out."""
    ours = OPERATORS.get(case.operator)
    for source in ((ours,) if ours else ()) + PEERS.get(case.operator, ()):
        try:
            yield from source(case, sets)
        except Exception as error:
            failures.append(f"{source.__module__}.{source.__name__}: {told(error)}")


class Late(Exception):
    """A contender takes too long."""


def _raise_late(*_: object) -> None:
    raise Late(f"not ready after {CONTENDER_S:.0f} s")


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises Late when the time is over, between two steps of Python (compiling, tuning)."""
    before = signal.signal(signal.SIGALRM, _raise_late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def told(error: BaseException) -> str:
    """An error on one line."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"[:300]


def checked(contender: Contender) -> float | None:
    """The relative error; raises ValueError if it is too large."""
    if contender.error is None:
        return None
    error = contender.error()
    if not error <= contender.tolerance:
        raise ValueError(f"wrong: relative error {error:.4g}, over {contender.tolerance}")
    return error


def row(case: Case, name: str, samples: Samples, error: float | None) -> store.Row:
    """The figures of one implementation."""
    median = quantile(samples.us, 0.5)
    return {
        "operator": case.operator,
        "shape": shape_json(case.shape),
        "impl": name,
        "us_median": median,
        "us_p05": quantile(samples.us, 0.05),
        "us_p95": quantile(samples.us, 0.95),
        "tb_per_s": case.bytes / median * 1e-6,
        "tops": case.flops / median * 1e-6,
        "repeats": len(samples.us),
        "relative_error": error,
        "calls": samples.calls,
        "method": samples.method,
    }


def measure(case: Case, clock: Clock, device: str, budget_s: float, rotated: float) -> Found:
    """Check and time all implementations of a case."""
    failures: list[str] = []
    sets = build(case, device, rotated)
    errors: dict[str, float | None] = {}
    replays: dict[str, Replay] = {}
    for contender in contenders(case, sets, failures):
        try:
            with time_limit(CONTENDER_S):
                errors[contender.name] = checked(contender)
                replays[contender.name] = clock.prepare(contender)
        except Exception as error:
            failures.append(f"{contender.name}: {told(error)}")
    found = side_by_side(replays, budget_s)
    rows = [row(case, name, samples, errors[name]) for name, samples in found.items()]
    rows = [one | {"input_bytes": sets.bytes} for one in rows]
    key = {"operator": case.operator, "shape": shape_json(case.shape)}
    samples = [
        key | {"impl": name, "sample": i, "us": us}
        for name, taken in found.items()
        for i, us in enumerate(taken.us)
    ]
    return {"rows": rows, "samples": samples, "failures": failures}


def answers() -> Callable[[Found], None]:
    """Writes lines to the supervisor. What packages and compilers print goes to stderr from now."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(found: Found) -> None:
        out.write(json.dumps(found) + "\n")
        out.flush()

    return say


def run(names: Sequence[str], budget_s: float, say: Callable[[Found], None]) -> None:
    """Measure cases on the current CUDA device."""
    import torch

    if not torch.cuda.is_available():
        sys.exit("there is no CUDA device")
    say({"about": described()})
    by_name = {case.name: case for case in every_case()}
    with Watch(device_id()) as watch:
        for case in (by_name[name] for name in names):
            say({"begin": case.name})
            begin = time.monotonic()
            found = measure(case, CudaClock(), "cuda", budget_s, ROTATED_BYTES)
            seen = watch.between(begin, time.monotonic())
            found["rows"] = [one | seen for one in found["rows"]]
            torch.cuda.synchronize()  # an error of the device belongs to this case
            say(found)
            gc.collect()
            torch.cuda.empty_cache()


def profile(case: Case) -> None:
    """One call of ours between marks for `ncu --profile-from-start off`."""
    import torch

    sets = build(case, "cuda")
    ours = next(OPERATORS[case.operator](case, sets))
    for call in ours.calls:
        call()
    torch.cuda.synchronize()
    torch.cuda.profiler.start()
    ours.calls[0]()
    torch.cuda.synchronize()
    torch.cuda.profiler.stop()


def main() -> int:
    """`python -m benchmarks.kernels.processes.worker SECONDS NAME...`, for the supervisor."""
    run(sys.argv[2:], float(sys.argv[1]), answers())
    return 0


if __name__ == "__main__":
    sys.exit(main())
