"""What the kernels must reach and what they aim at, and what others reach.

A figure must be at least `must`; `aim` is the better one to go for. It is one of
- `tb_per_s`, `tops`: of our row;
- `speedup`: the time of the fastest of the peers that `versus` matches, over ours.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.kernels.cases import Case, Shape

FFN = ("up", "down")
LARGE = (*FFN, "head")
SQUARE = ("qkv", "q", "o")


@dataclass(frozen=True)
class Aim:
    """A figure that cases must reach."""

    operator: str
    applies: Callable[[Shape], bool]
    figure: str
    must: float
    aim: float | None = None
    versus: str = ""

    def fits(self, case: Case) -> bool:
        """Is this aim about that case?"""
        return case.operator == self.operator and self.applies(case.shape)

    @property
    def text(self) -> str:
        """For people: `2.6 (2.75) TB/s`."""
        unit = {"tb_per_s": " TB/s", "tops": " TOPS", "speedup": f" x {self.versus_name}"}
        more = f" ({self.aim:g})" if self.aim else ""
        return f"{self.must:g}{more}{unit[self.figure]}"

    @property
    def versus_name(self) -> str:
        """Whom it is against, in words."""
        return re.sub(r"[\\^$]|\.\*", "", self.versus).strip()


def _is(**wanted: Any) -> Callable[[Shape], bool]:
    def applies(shape: Shape) -> bool:
        return all(
            shape.get(name) in value if isinstance(value, tuple) else shape.get(name) == value
            for name, value in wanted.items()
        )

    return applies


_USUAL = {"kv": "int8", "kv_heads": 1, "lengths": "equal"}
_LONG = _is(heads=64, batch=(128, 512), context=8192, window=0, **_USUAL)
_CHUNK = {"cached": 0, "heads": 64, "kv": "int8", "kv_heads": 1, "window": 0}
_PLAIN = {"epilogue": "none"}

AIMS = (
    Aim("decode_attention", _LONG, "tb_per_s", 2.6, 2.75),
    Aim("decode_attention", _LONG, "speedup", 1.9, versus="^torch SDPA flash"),
    Aim(
        "decode_attention",
        _is(heads=64, batch=256, context=1024, window=0, **_USUAL),
        "tb_per_s",
        2.0,
    ),
    Aim(
        "decode_attention",
        _is(heads=64, batch=16, context=8192, window=0, **_USUAL),
        "tb_per_s",
        1.9,
    ),
    Aim(
        "decode_attention",
        _is(heads=128, batch=64, context=8192, window=0, **_USUAL),
        "tb_per_s",
        2.3,
    ),
    Aim("decode_attention", _is(heads=64, batch=512, window=1024), "tb_per_s", 2.2),
    Aim("prefill_attention", _is(chunk=1024, **_CHUNK), "speedup", 1.0, versus="^torch SDPA cuDNN"),
    Aim("prefill_attention", _is(chunk=4096, **_CHUNK), "tops", 600.0),
    Aim("prefill_attention", _is(chunk=16384, **_CHUNK), "tops", 650.0, 800.0),
    Aim("matmul", _is(m=(2048, 8192), product=LARGE, **_PLAIN), "tops", 1250.0),
    Aim("matmul", _is(m=(2048, 8192), **_PLAIN), "speedup", 1.4, versus="^torch._int_mm"),
    Aim("matmul", _is(m=256, product=FFN, **_PLAIN), "tops", 900.0),
    Aim("matmul", _is(m=(16, 64), product=FFN, **_PLAIN), "tb_per_s", 2.5),
    Aim("matmul", _is(m=(16, 64), product=SQUARE, **_PLAIN), "tb_per_s", 2.0),
    Aim("norm_quantise", _is(tokens=(512, 2048, 8192)), "speedup", 0.85, versus="^Triton copy"),
    Aim("rotary_write", _is(tokens=(512, 2048, 8192)), "speedup", 0.85, versus="^Triton copy"),
)


def urgent_first(cases: Iterable[Case]) -> list[Case]:
    """Ceilings, then what aims are about, then the rest: a run that is cut off has what counts."""
    ceilings = ("copy", "read")

    def rank(case: Case) -> int:
        return 0 if case.operator in ceilings else 1 if any(a.fits(case) for a in AIMS) else 2

    return sorted(cases, key=rank)


@dataclass(frozen=True)
class Published:
    """A figure of somebody else's kernel that is not measured in our run, and its source."""

    operator: str
    shape: str
    impl: str
    figure: str
    value: float
    source: str

    @property
    def unit(self) -> str:
        """Of the figure."""
        return {"tb_per_s": "TB/s", "tops": "TOPS"}.get(self.figure, self.figure)


EARLIER = (
    "an earlier probe of ours: H100 80GB HBM3 SXM, torch 2.11.0+cu130, Triton 3.6.0, 2026-11-21; "
    "medians of triton.testing.do_bench, random data"
)
CUTLASS = (
    "CUTLASS 4.5 sm90 collectives in a small harness of ours, best of 7 configurations, epilogue "
    "with row and column scales; " + EARLIER
)
SAGE = "SageAttention (d1a57a5), chart for H100, head dimension 128, causal"

PUBLISHED = (
    Published("matmul", "8192 x 8192 x 8192", "CUTLASS 4.5", "tops", 1359, CUTLASS),
    Published("matmul", "8192 x 28672 x 5120", "CUTLASS 4.5", "tops", 1305, CUTLASS),
    Published("matmul", "2048 x 28672 x 5120", "CUTLASS 4.5", "tops", 1405, CUTLASS),
    Published("matmul", "256 x 28672 x 5120", "CUTLASS 4.5", "tops", 975, CUTLASS),
    Published("matmul", "64 x 28672 x 5120", "CUTLASS 4.5", "tb_per_s", 2.29, CUTLASS),
    Published("matmul", "16 x 28672 x 5120", "CUTLASS 4.5", "tb_per_s", 2.25, CUTLASS),
    Published("matmul", "64 x 5120 x 14336", "CUTLASS 4.5", "tb_per_s", 1.94, CUTLASS),
    Published("prefill_attention", "1024", "SageAttention 2", "tops", 448, SAGE),
    Published("prefill_attention", "4096", "SageAttention 2", "tops", 744, SAGE),
    Published("prefill_attention", "16384", "SageAttention 2", "tops", 835, SAGE),
    Published("prefill_attention", "32768", "SageAttention 2", "tops", 858, SAGE),
    Published("prefill_attention", "32768", "FlashAttention 3, fp8", "tops", 817, SAGE),
    Published("decode_attention", "64 x 128 x 8192", "FlashInfer XQA", "tb_per_s", 0.91, EARLIER),
    Published("decode_attention", "64 x 256 x 1024", "FlashInfer XQA", "us", 99, EARLIER),
    Published("decode_attention", "64 x 16 x 8192", "FlashInfer XQA", "us", 48, EARLIER),
    Published("decode_attention", "64 x 128 x 8192", "torch SDPA flash", "us", 201, EARLIER),
    Published("decode_attention", "64 x 128 x 8192", "torch SDPA cuDNN", "us", 241, EARLIER),
    Published("prefill_attention", "4096", "torch SDPA cuDNN", "tops", 538, EARLIER),
    Published("prefill_attention", "4096", "SageAttention 1.0.6", "tops", 394, EARLIER),
)

READ_BYTES_PER_S = 3.03e12
"""A plain streaming read on an H100 SXM, measured (our earlier probe)."""
OPS_PER_S = {"int8": 1979e12, "float16": 989.5e12}
"""NVIDIA's data sheet of the H100 SXM: dense, at the boost clock."""


def floors_us(case: Case) -> tuple[float, float]:
    """The times that a case's bytes and operations take at the ceilings."""
    ops_per_s = OPS_PER_S[case.shape.get("kv", "int8")]
    return 1e6 * case.least_bytes / READ_BYTES_PER_S, 1e6 * case.flops / ops_per_s


def floor_us(case: Case) -> float:
    """The time that no kernel can beat."""
    return max(floors_us(case))


def bound_by(case: Case) -> str:
    """What makes that floor."""
    by_bytes, by_operations = floors_us(case)
    return "bytes" if by_bytes >= by_operations else "MMA"
