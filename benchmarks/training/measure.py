"""Times the cases on the current GPU, with clocks and power beside them."""

import datetime
import gc
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks.kernels.gpu import CudaClock, Watch, commit, described, device_id, slug
from benchmarks.kernels.timing import Contender, Samples, quantile, side_by_side
from benchmarks.training.cases import Case

Row = dict[str, Any]
Say = Callable[[str], None]


def run(
    cases: Sequence[Case], seconds: float, known_commit: str | None, say: Say
) -> dict[str, Any]:
    """Rows, samples, and where they come from, of all cases; what fails is noted and left out."""
    import torch

    begun = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    rows: list[Row] = []
    samples: list[Row] = []
    failures: list[str] = []
    with Watch(device_id()) as watch:
        for case in cases:
            say(case.name)
            found = _one(case, seconds, watch, begun, failures)
            rows += found[0]
            samples += found[1]
            gc.collect()
            torch.cuda.empty_cache()
    about = {
        **described(), "run": begun, "commit": known_commit or commit(), "failures": failures,
        "command": " ".join(["python -m benchmarks.training", *sys.argv[1:]]),
        "codes": code_errors(),
    }  # fmt: skip
    return {"gpu": slug(about["gpu"]), "rows": rows, "samples": samples, "about": about}


def _one(
    case: Case, seconds: float, watch: Watch, run_at: str, failures: list[str]
) -> tuple[list[Row], list[Row]]:
    clock, replays, errors = CudaClock(), {}, {}
    try:
        contenders = list(case.make())
    except Exception as error:
        failures.append(f"{case.name}: {type(error).__name__}: {error}")
        return [], []
    for contender in contenders:
        try:
            errors[contender.name] = _checked(contender)
            replays[contender.name] = clock.prepare(contender)
        except Exception as error:
            failures.append(f"{case.name}, {contender.name}: {type(error).__name__}: {error}")
    begin = time.monotonic()
    found = side_by_side(replays, seconds) if replays else {}
    about = watch.between(begin, time.monotonic())
    rows = [_row(case, n, s, errors[n], about | {"run": run_at}) for n, s in found.items()]
    samples = [
        {"operator": case.operator, "shape": case.shape, "impl": n, "sample": i, "us": us}
        for n, s in found.items()
        for i, us in enumerate(s.us)
    ]
    return rows, samples


def _checked(contender: Contender) -> float | None:
    """The error; raises where it is too large: a wrong result has no time."""
    if contender.error is None:
        return None
    error = contender.error()
    if not error <= contender.tolerance:
        raise ValueError(f"error {error:.3g} is over {contender.tolerance:g}")
    return error


def _row(case: Case, name: str, found: Samples, error: float | None, about: dict[str, Any]) -> Row:
    us = quantile(found.us, 0.5)
    return {
        "operator": case.operator, "shape": case.shape, "impl": name, "us_median": us,
        "us_p05": quantile(found.us, 0.05), "us_p95": quantile(found.us, 0.95),
        "tb_per_s": case.bytes / us * 1e-6, "tops": case.flops / us * 1e-6,
        "repeats": len(found.us), "relative_error": error, "calls": found.calls,
        "method": found.method, "input_bytes": None, **about,
    }  # fmt: skip


def code_errors(count: int = 1 << 20) -> list[Row]:
    """Errors of Squinch and of other codes of gradients, on made-up ones; takes no GPU."""
    from kernels.training.squinch.compare import CODES, draws, errors

    return [
        {
            "gradients": kind,
            "code": name,
            "bits": code.bits,
            **errors(x, code.round_trip(x))._asdict(),
        }
        for kind, x in draws(count).items()
        for name, code in CODES.items()
    ]
