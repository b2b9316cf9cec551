"""How the Hopper matmul is cut into tiles: what a tiling is, how its tiles are divided over the
multiprocessors, and which tiling to take for a product."""

from functools import lru_cache
from typing import NamedTuple

COUNTERS = 1 << 16
"""Tiles times warpgroups that can be shared by CTAs in one launch."""


class Tiling(NamedTuple):
    """How the Hopper kernel cuts a product. Rows are the matrix instruction's: tokens, or weights
    when `swap`. A CTA's tile is `consumers * rows` by `columns`."""

    rows: int
    consumers: int
    columns: int
    stages: int
    swap: bool
    splits: int = 1
    """CTAs that share each tile of the last, partial wave, at most. 0: all CTAs share all tiles
    evenly, wherever along K that cuts them (stream-K)."""
    group: int = 8
    part: int = 64
    ctas: int = 1
    """CTAs on a multiprocessor."""
    k_tile: int = 128
    """Bytes of K a stage holds."""
    chained: bool = False
    """Start while the kernel before is still running, and wait for its end only then."""
    extra: int = 0
    """Columns of a tile beyond `columns`, a power of two as they are: 128 + 32 where 160 fill the
    multiprocessors."""

    @property
    def width(self) -> int:
        """Columns of a tile, all of them."""
        return self.columns + self.extra

    @property
    def registers(self) -> tuple[int, int]:
        """Registers a thread at the start (all warps the same), and those of the consumers that
        are not the default one after they are handed out again."""
        if self.ctas > 1:
            return (128, 128) if self.ctas == 2 else (80, 80)
        return {1: (168, 232), 2: (168, 232), 3: (128, 160)}[self.consumers]

    @property
    def partials(self) -> int:
        """Accumulators of one tile."""
        return self.rows * self.consumers * self.width


class Cut(NamedTuple):
    """The work of one launch: the first `sharing` of `ctas` take `shared` tiles together, then all
    take `whole` tiles one by one."""

    ctas: int
    shared: int
    sharing: int
    whole: int
    row_tiles: int
    column_tiles: int
    k_tiles: int


def cut(m: int, n: int, k: int, tiling: Tiling, multiprocessors: int) -> Cut:
    """Divides an m x n x k product over the multiprocessors.

    Where the last wave of tiles would leave most of them idle, each of its tiles is cut along K
    into as many equal parts as there is room for. These come first, so that the sums are added up
    while others are at their whole tiles.
    """
    height, width = (n, m) if tiling.swap else (m, n)
    row_tiles = -(-height // (tiling.rows * tiling.consumers))
    column_tiles = -(-width // tiling.width)
    tiles, k_tiles = row_tiles * column_tiles, -(-k // tiling.k_tile)
    ctas = multiprocessors * tiling.ctas
    shared, sharing = tiles, min(ctas, tiles * k_tiles)
    if tiling.splits:
        shared = tiles % ctas
        sharing = shared * min(tiling.splits, ctas // max(shared, 1), k_tiles)
    if sharing <= shared and tiling.splits or shared * tiling.consumers > COUNTERS:
        shared, sharing = 0, 1
    whole = tiles - shared
    return Cut(
        min(ctas, max(sharing, whole)), shared, sharing, whole, row_tiles, column_tiles, k_tiles
    )


class Candidate(NamedTuple):
    """A tiling and what it costs: times in microseconds, fitted to measurements on an H100 SXM
    (docs/kernels-log.md), of which it is used only to rank tilings of the same class of M. What
    all pay once, some 5 us from 65 to 1024 tokens, is in none."""

    tiling: Tiling
    step: float
    """Of one K tile, with all multiprocessors busy."""
    tile: float
    """Of filling the pipeline and writing a tile."""
    partial: float = 0.0
    """For each further CTA that works on a shared tile: its sums are written, and read by one."""
    rate: float = 3.0
    """MB a microsecond that weights are read with, at best."""


CLASSES = {
    16: (
        Candidate(Tiling(64, 1, 16, 20, swap=True), 0.25, 0.0, rate=2.9),
        Candidate(
            Tiling(64, 1, 16, 5, swap=True, splits=0, ctas=2, k_tile=256), 0.5, 0.0, 0.8, 2.9
        ),
    ),
    64: (
        Candidate(Tiling(64, 1, 64, 12, swap=True), 0.272, 0.0, rate=2.75),
        Candidate(Tiling(64, 2, 64, 8, swap=True), 0.255, 1.2, rate=2.65),
        Candidate(Tiling(64, 1, 64, 12, swap=True, splits=0), 0.272, 1.0, 2.0, 2.6),
    ),
    128: (
        Candidate(Tiling(64, 1, 128, 8, swap=True), 0.275, 0.5, rate=2.75),
        Candidate(Tiling(64, 1, 64, 11, swap=False, extra=16), 0.253, 0.0, rate=2.75),
        Candidate(Tiling(64, 2, 128, 6, swap=False, extra=16), 0.7, 2.0, rate=2.75),
        Candidate(Tiling(64, 2, 128, 6, swap=True, splits=4), 0.36, 1.0, 10.0, 2.75),
    ),
    192: (
        Candidate(Tiling(64, 2, 128, 6, swap=True), 0.475, 3.2, rate=2.4),
        Candidate(Tiling(64, 1, 128, 8, swap=False), 0.3, 0.0, rate=2.4),
        Candidate(Tiling(64, 1, 128, 6, swap=False, extra=64), 0.45, 1.7, rate=2.4),
        Candidate(Tiling(64, 3, 64, 6, swap=False), 0.35, 3.0, rate=2.5),
        Candidate(Tiling(64, 3, 128, 5, swap=False, extra=16), 0.8, 4.0, rate=2.4),
        Candidate(Tiling(128, 2, 128, 4, swap=False, splits=4), 0.76, 5.0, 6.0, 2.4),
    ),
    256: (
        Candidate(Tiling(64, 2, 128, 6, swap=True), 0.43, 1.5, rate=2.4),
        Candidate(Tiling(64, 2, 64, 8, swap=False, extra=16), 0.31, 0.7, rate=2.4),
        Candidate(Tiling(64, 2, 128, 5, swap=False, extra=32), 0.52, 3.5, rate=2.4),
        Candidate(Tiling(64, 2, 256, 4, swap=False, extra=16), 0.9, 5.0, rate=2.4),
        Candidate(Tiling(128, 2, 128, 4, swap=False, splits=4), 0.76, 5.0, 6.0, 2.4),
    ),
    384: (
        Candidate(Tiling(64, 2, 256, 4, swap=False), 0.62, 4.9),
        Candidate(Tiling(64, 2, 256, 4, swap=False, splits=4), 0.62, 4.9, 18.0),
        Candidate(Tiling(64, 2, 128, 6, swap=False), 0.475, 0.0),
        Candidate(Tiling(64, 2, 128, 5, swap=False, extra=32), 0.5, 0.0),
        Candidate(Tiling(64, 2, 128, 5, swap=False, extra=64), 0.6, 3.0),
        Candidate(Tiling(64, 3, 128, 5, swap=False), 0.57, 3.0),
    ),
    1024: (
        Candidate(Tiling(64, 2, 256, 4, swap=False), 0.6, 4.3),
        Candidate(Tiling(64, 2, 256, 4, swap=False, splits=2), 0.6, 4.3, 3.0),
        Candidate(Tiling(64, 2, 256, 4, swap=False, extra=16), 0.7, 5.2),
        Candidate(Tiling(64, 2, 128, 5, swap=False, extra=32), 0.434, 3.5),
        Candidate(Tiling(128, 2, 128, 4, swap=False), 0.58, 5.0),
        Candidate(Tiling(64, 2, 128, 6, swap=True), 0.3, 3.5),
        Candidate(Tiling(64, 3, 128, 5, swap=False), 0.57, 3.0),
        Candidate(Tiling(64, 3, 256, 3, swap=False, part=32), 0.9, 4.9),
    ),
}
"""By the most tokens that they are for. Few tokens: the weights' bytes bound it, and tiles must be
so small that whole ones keep most multiprocessors copying. From 65 on the best tile is the one
whose count comes out just below the number of multiprocessors, or a multiple of it."""

MANY_TOKENS = (
    Candidate(Tiling(64, 2, 256, 4, swap=False), 0.609, 4.9),
    Candidate(Tiling(64, 2, 256, 4, swap=False, splits=2), 0.625, 5.0, 6.0),
    Candidate(Tiling(64, 2, 256, 4, swap=False, splits=4), 0.625, 5.0, 9.0),
    Candidate(Tiling(64, 2, 128, 6, swap=True), 0.35, 2.7),
    Candidate(Tiling(64, 3, 256, 3, swap=False, part=32), 0.94, 8.0),
)
"""The first reaches the most where waves are full; in the second and third, two or four CTAs share
each tile of the last wave; the others are for products of about one wave. Tiles of 192 rows spill
registers where they add a residual (the last one), and are then left out."""


MOST_CHAINED = 384
"""Tokens up to which a launch is chained if asked for: at 512 it gains nothing or loses."""


def expected_time(m: int, n: int, k: int, candidate: Candidate, multiprocessors: int) -> float:
    """Microseconds that a product would take: waves of tiles, or the weights' bytes; and the
    partial sums of tiles that are shared."""
    tiling = candidate.tiling
    work = cut(m, n, k, tiling, multiprocessors)
    waves = -(-work.whole // (multiprocessors * tiling.ctas))
    busy = waves * (work.k_tiles * candidate.step + candidate.tile)
    others = 0.0
    if work.shared:
        busy += work.shared * work.k_tiles / work.sharing * candidate.step + candidate.tile
        # Parts that are not aligned with tiles touch one tile more.
        aligned = work.sharing % work.shared == 0
        others = work.sharing / work.shared - aligned
    return max(busy, n * k / candidate.rate * 1e-6) + others * candidate.partial


@lru_cache(4096)
def tiling_for(
    m: int,
    n: int,
    k: int,
    chained: bool = False,  # noqa: FBT001, FBT002
    residual: bool = False,  # noqa: FBT001, FBT002
    multiprocessors: int = 132,
) -> Tiling:
    """The tiling that should be fastest for an m x n x k product. `chained`: launched while the
    kernel before is running, which is done up to `MOST_CHAINED` tokens: with more it gains
    little. `residual`: the epilogue adds one."""
    fitting = [most for most in CLASSES if m <= most]
    candidates = CLASSES[fitting[0]] if fitting else MANY_TOKENS
    served = [c for c in candidates if not (residual and c.tiling.consumers == 3)]
    best = min(served, key=lambda c: expected_time(m, n, k, c, multiprocessors)).tiling
    return best._replace(chained=chained and m <= MOST_CHAINED)
