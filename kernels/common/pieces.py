"""Small Triton functions that several operators' kernels call."""

import triton
import triton.language as tl
from triton.language.extra.cuda import gdc_launch_dependents, gdc_wait


@triton.jit
def await_launch(CHAINED: tl.constexpr):
    """In a chained launch: until the launch before has ended. Then the next one may begin."""
    if CHAINED:
        gdc_wait()
        gdc_launch_dependents()


@triton.jit
def rounded(x):
    """To the nearest int8, ties to even; `x` within +-127. Adding 1.5 * 2**23 leaves the integer in
    the low bits of the mantissa."""
    return (x + 12582912.0).to(tl.int32, bitcast=True).to(tl.int8)


@triton.jit
def to_int8(x):
    """Round to nearest even and saturate at +-127."""
    return rounded(tl.clamp(x, -127.0, 127.0))
