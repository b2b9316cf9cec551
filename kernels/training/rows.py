"""A row of logits that is wider than a program: its largest, and its mass."""

import triton
import triton.language as tl


@triton.jit
def row_mass(x_ptr, width, BLOCK: tl.constexpr):
    """The largest of a row's `width` logits, and the sum of exp(logit - largest), piece by piece;
    float32. A row of -inf alone has no mass."""
    column = tl.arange(0, BLOCK)
    top = tl.full((BLOCK,), -1e30, tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for first in range(0, width, BLOCK):
        at = first + column
        x = tl.load(x_ptr + at, mask=at < width, other=float("-inf")).to(tl.float32)
        above = tl.maximum(top, x)
        total = total * tl.exp(top - above) + tl.exp(x - above)
        top = above
    largest = tl.max(top, 0)
    return largest, tl.sum(total * tl.exp(top - largest), 0)
