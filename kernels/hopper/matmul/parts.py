"""Pieces of the Hopper matmul that touch no matrix instruction: which CTA computes what, partial
sums of CTAs that share a tile, the epilogue."""

from triton.experimental import gluon
from triton.experimental.gluon import language as gl

from kernels.hopper.compat import barrier

PLAIN = gl.constexpr(0)
CLAMP = gl.constexpr(1)
SQUARED_RELU = gl.constexpr(2)
RESIDUAL = gl.constexpr(3)


@gluon.jit
def segments(shared_tiles, sharing, whole_tiles, k_tiles):
    """This CTA's share: how many segments, and the shared K tiles from `begin` to `end`, which the
    first `sharing` CTAs divide among them."""
    pid, ctas = gl.program_id(0), gl.num_programs(0)
    shared = shared_tiles * k_tiles
    begin = gl.minimum(pid, sharing) * shared // sharing
    end = gl.minimum(pid + 1, sharing) * shared // sharing
    pieces = gl.where(end > begin, (end - 1) // k_tiles - begin // k_tiles + 1, 0)
    whole = (whole_tiles - pid + ctas - 1) // ctas
    return pieces + whole, pieces, begin, end


@gluon.jit
def segment(i, pieces, begin, end, shared_tiles, k_tiles):
    """Tile and K range of segment i of this CTA: first its part of the shared tiles, then whole
    tiles, one in every `ctas`."""
    is_piece = i < pieces
    piece_tile = begin // k_tiles + i
    first, last = begin - piece_tile * k_tiles, end - piece_tile * k_tiles
    k0 = gl.where(is_piece, gl.maximum(first, 0), 0)
    k1 = gl.where(is_piece, gl.minimum(last, k_tiles), k_tiles)
    whole_tile = shared_tiles + gl.program_id(0) + (i - pieces) * gl.num_programs(0)
    return gl.where(is_piece, piece_tile, whole_tile), k0, k1


@gluon.jit
def sharers(tile, shared_tiles, sharing, k_tiles):
    """First and last CTA that work on a shared tile."""
    shared = shared_tiles * k_tiles
    first = ((tile * k_tiles + 1) * sharing - 1) // shared
    return first, ((tile * k_tiles + k_tiles) * sharing - 1) // shared


@gluon.jit
def place(tile, row_tiles, column_tiles, GROUP: gl.constexpr):
    """Row and column of a tile. Tiles go down GROUP rows before the next column, so that the tiles
    that run at one time are a patch that is near square: fewest bytes from device memory."""
    in_group = GROUP * column_tiles
    group = tile // in_group
    height = gl.minimum(row_tiles - group * GROUP, GROUP)
    rest = tile % in_group
    return group * GROUP + rest % height, rest // height


@gluon.jit
def _halves(x):
    """Left and right half of the columns."""
    return x.reshape([x.shape[0], 2, x.shape[1] // 2]).permute(0, 2, 1).split()


@gluon.jit
def parts(acc, PART: gl.constexpr):
    """Columns in parts of at most PART, left to right."""
    if acc.shape[1] <= PART:
        return (acc,)
    else:  # noqa: RET505 (a constexpr branch)
        left, right = _halves(acc)
        return parts(left, PART) + parts(right, PART)


@gluon.jit
def _offsets(part, c0, COLUMNS: gl.constexpr):
    """Where a part that begins at column c0 lies in a warpgroup's share of a slot."""
    layout: gl.constexpr = part.type.layout
    r = gl.arange(0, part.shape[0], gl.SliceLayout(1, layout))
    c = c0 + gl.arange(0, part.shape[1], gl.SliceLayout(0, layout))
    return r[:, None] * COLUMNS + c[None, :]


@gluon.jit
def add_partials(part, slot, c0, first, last, SLOT: gl.constexpr, COLUMNS: gl.constexpr):
    """Adds what the other CTAs left. `slot` points at this warpgroup's share of slot 0."""
    offsets = _offsets(part, c0, COLUMNS)
    for cta in range(first, last + 1):
        if cta != gl.program_id(0):
            at = slot + (2 * cta + gl.where(cta == first, 1, 0)) * SLOT
            part += gl.load(at + offsets, cache_modifier=".cg")
    return part


@gluon.jit
def _leave_partials(parts, slot, k0, SLOT: gl.constexpr, COLUMNS: gl.constexpr):
    """Writes this CTA's sums. It has two slots, for it shares at most two tiles: slot 1 for the
    one whose K range it begins, slot 0 for the other."""
    at = slot + (2 * gl.program_id(0) + gl.where(k0 == 0, 1, 0)) * SLOT
    for p in gl.static_range(len(parts)):
        gl.store(at + _offsets(parts[p], p * parts[0].shape[1], COLUMNS), parts[p])


@gluon.jit
def is_last(parts, slot, counter, others, k0, SLOT: gl.constexpr, COLUMNS: gl.constexpr):
    """Leaves the partial sums and says whether all `others` have left theirs (then this CTA is to
    add up, and need not write its own). The counter is back at zero afterwards."""
    arrived = gl.atomic_add(counter, 0, sem="acquire")
    if arrived != others:
        _leave_partials(parts, slot, k0, SLOT, COLUMNS)
        barrier()
        arrived = gl.atomic_add(counter, 1, sem="acq_rel")
    if arrived == others:
        gl.store(counter, 0)
    return arrived == others


@gluon.jit
def _round_to_int8(x):
    """Nearest int8, ties to even, of |x| <= 127: 1.5 * 2^23 + x has x in its low bits."""
    return (x + 12582912.0).to(gl.int32, bitcast=True).to(gl.int8)


@gluon.jit
def _scales(pointer, static, index, size, HAS: gl.constexpr):
    if HAS:
        return gl.load(pointer + index, mask=index < size, other=0.0)
    else:  # noqa: RET505
        return gl.full(index.shape, 1.0, gl.float32, index.type.layout) * static


@gluon.jit
def _where(r0, c0, scalars, ROWS: gl.constexpr, COLUMNS: gl.constexpr, SWAP: gl.constexpr,
           STORE: gl.constexpr):  # fmt: skip
    """Where a part of a tile lies in the result, and which of it is inside."""
    m, n, x_scale, limit, inverse_scale = scalars
    i = r0 + gl.arange(0, ROWS, gl.SliceLayout(1, STORE))
    j = c0 + gl.arange(0, COLUMNS, gl.SliceLayout(0, STORE))
    if SWAP:
        return i[:, None] + j[None, :] * n, (i < n)[:, None] & (j < m)[None, :]
    else:  # noqa: RET505
        return i[:, None] * n + j[None, :], (i < m)[:, None] & (j < n)[None, :]


@gluon.jit
def residual_of(
    r0, c0, outs, scalars, ROWS: gl.constexpr, COLUMNS: gl.constexpr, SWAP: gl.constexpr,
    EPILOGUE: gl.constexpr, STORE: gl.constexpr,
):  # fmt: skip
    """What is added to a part of a tile; 0 if nothing is."""
    if EPILOGUE == RESIDUAL:
        out, row_scale, col_scale, residual, residual_scale = outs
        offset, inside = _where(r0, c0, scalars, ROWS, COLUMNS, SWAP, STORE)
        return gl.load(residual + offset, mask=inside, other=0.0)
    else:  # noqa: RET505
        return 0


@gluon.jit
def write(
    part, old, r0, c0, outs, scalars, SWAP: gl.constexpr, EPILOGUE: gl.constexpr,
    HAS_ROW_SCALE: gl.constexpr, STORE: gl.constexpr,
):  # fmt: skip
    """Scales, epilogue with what `residual_of` gave, and the coalesced write of one part of a tile
    at row r0, column c0."""
    out, row_scale, col_scale, residual, residual_scale = outs
    m, n, x_scale, limit, inverse_scale = scalars
    layout: gl.constexpr = part.type.layout
    i = r0 + gl.arange(0, part.shape[0], gl.SliceLayout(1, layout))
    j = c0 + gl.arange(0, part.shape[1], gl.SliceLayout(0, layout))
    if SWAP:
        scale = _scales(col_scale, 1.0, i, n, True)[:, None]
        scale = scale * _scales(row_scale, x_scale, j, m, HAS_ROW_SCALE)[None, :]
    else:
        scale = _scales(row_scale, x_scale, i, m, HAS_ROW_SCALE)[:, None]
        scale = scale * _scales(col_scale, 1.0, j, n, True)[None, :]
    offset, inside = _where(r0, c0, scalars, part.shape[0], part.shape[1], SWAP, STORE)
    value = part.to(gl.float32) * scale
    if EPILOGUE == CLAMP or EPILOGUE == SQUARED_RELU:  # noqa: SIM109
        value = gl.minimum(gl.maximum(value, -limit), limit)
    if EPILOGUE == SQUARED_RELU:
        value = gl.maximum(value, 0.0)
        result = _round_to_int8(value * value * inverse_scale)
    else:
        if EPILOGUE == RESIDUAL:
            old = gl.convert_layout(old, layout).to(gl.float32)
            if residual_scale is not None:
                if SWAP:
                    old *= _scales(residual_scale, 1.0, i, n, True)[:, None]
                else:
                    old *= _scales(residual_scale, 1.0, j, n, True)[None, :]
            value += old
        result = value.to(out.dtype.element_ty)
    gl.store(out + offset, gl.convert_layout(result, STORE), mask=inside)
