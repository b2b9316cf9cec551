"""Made-up rows of a kernel measurement, for tests."""

from typing import Any

from benchmarks.kernels.cases import Case, shape_json

Row = dict[str, Any]


def row(case: Case, impl: str, us: float) -> Row:
    """A row of this median, as `benchmarks.kernels.processes.worker` makes it."""
    return {
        "operator": case.operator,
        "shape": shape_json(case.shape),
        "impl": impl,
        "us_median": us,
        "us_p05": 0.9 * us,
        "us_p95": 1.1 * us,
        "tb_per_s": case.bytes / us * 1e-6,
        "tops": case.flops / us * 1e-6,
        "repeats": 3,
        "relative_error": 0.01 if impl == "ours" else None,
        "calls": 7,
        "method": "graph",
        "input_bytes": 300_000_000,
        "sm_mhz": 1755.0,
        "sm_mhz_min": 1500.0,
        "watts": 650.0,
        "slowed_by": "power cap",
        "run": "2026-11-22T10:00:00+00:00",
    }


def samples(case: Case, impl: str, us: float) -> list[Row]:
    """Three samples behind it."""
    key = {"operator": case.operator, "shape": shape_json(case.shape), "impl": impl}
    return [key | {"sample": i, "us": (0.9 + 0.1 * i) * us} for i in range(3)]
