"""From scores to int8 probabilities on Hopper, in as few instructions as it takes.

Between its two matrix products int8 attention waits for the instructions of the softmax, so they
are counted (for 64 x 128 scores; a thread of a warpgroup has 64 of them):

- P = 127 * 2^(score * scale - ref): one multiply-add and one exponential a value;
- rounded in pairs as float16 (1536 + p has round(p) in its low byte, as float16 counts in ones from
  1024 to 2048), then packed by bytes: five instructions for four values;
- row sums of the rounded P are dot products of bytes, in the layout of the matrix operand, whose
  four consecutive bytes lie in one row: 16 instructions instead of 64;
- the accumulator is relative to the *last* step's largest score, not to the largest so far: it then
  takes one multiply-add a value, not a multiply and a multiply-add.

All of it is for rows in the accumulator's layout of one warpgroup, 64 rows by 128 columns.
"""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl

# log2(127): P is scaled so that its largest value in a step is 127.
LOG2_127 = gl.constexpr(6.988684686772166)
# 1.5 * 2^23: adding it to |x| < 2^22 leaves round(x) in the low bits of the float.
MAGIC = gl.constexpr(12582912.0)
# A step whose largest score is so far (log2) below the row's largest so far counts for nothing in
# float32; but the accumulator, relative to it, would grow by as much. So it stays that near.
MOST_BELOW = gl.constexpr(40.0)
# A page of V as it lies in memory, [8 groups][128 dims][16 slots], as [dims, tokens]: the matrix
# unit reads it in cores of 8 dimensions by 16 tokens, without a swizzle.
V_LAYOUT = gl.constexpr(
    gl.SharedLinearLayout(
        [[0, 1], [0, 2], [0, 4], [0, 8]]
        + [[1 << i, 0] for i in range(7)]
        + [[0, 16], [0, 32], [0, 64]]
    )
)


@gluon.jit
def round_to_int16(p):
    """round(p) of float32 from 0 to 127 in the low bytes of int16, two in a register."""
    return gl.inline_asm_elementwise(
        "{ .reg .b32 a, c; mov.b32 c, 0x66006600; cvt.rn.f16x2.f32 a, $2, $1;"
        " add.rn.f16x2 $0, a, c; }",
        "=r,f,f",
        [p],
        dtype=gl.int16,
        is_pure=True,
        pack=2,
    )


@gluon.jit
def low_bytes(p):
    """int8 of the low bytes of int16, four in a register."""
    return gl.inline_asm_elementwise(
        "prmt.b32 $0, $1, $2, 0x6420;", "=r,r,r", [p], dtype=gl.int8, is_pure=True, pack=4
    )


@gluon.jit
def byte_sums(p, row: gl.constexpr):
    """Row sums, float32 in layout `row`, of the int8 operand P, whose four consecutive registers
    lie in one row."""
    parts = gl.inline_asm_elementwise(
        "{ mov.u32 $1, 0; mov.u32 $2, 0; mov.u32 $3, 0; dp4a.s32.s32 $0, $4, 0x01010101, 0; }",
        "=r,=r,=r,=r,r",
        [p],
        dtype=gl.int32,
        is_pure=True,
        pack=4,
    )
    return gl.convert_layout(gl.sum(parts, 1).to(gl.float32), row, assert_trivial=True)


@gluon.jit
def probabilities(x, scale, ref, operand: gl.constexpr):
    """P of float scores `[64, 128]` as the int8 operand of P @ V: times 127 and relative to `ref`
    (log2), at least each row's largest x * scale. `operand`: DotOperandLayout(0, mma, 4)."""
    p = gl.exp2(x * scale[:, None] - (ref - LOG2_127)[:, None])
    # V holds the tokens of a group permuted: bring P into its order, which moves no register.
    p16 = round_to_int16(p).reshape([64, 8, 2, 4, 2]).permute((0, 1, 3, 2, 4)).reshape([64, 128])
    return low_bytes(gl.convert_layout(p16, operand, assert_trivial=True))


@gluon.jit
def follow(step_top, top, ref):
    """After a step's largest scores (log2): (the rows' largest so far, what to be relative to now,
    the factor that accumulator and mass take for it, which are relative to `ref`)."""
    top = gl.maximum(top, step_top)
    new_ref = gl.maximum(step_top, top - MOST_BELOW)
    return top, new_ref, gl.exp2(ref - new_ref)
