"""How the Hopper matmul divides its work: the kernel's own arithmetic, run on Python's integers."""

import random
from types import FunctionType, SimpleNamespace
from typing import Any

import pytest

from kernels.hopper.matmul import parts
from kernels.hopper.matmul.launch import LARGEST_TILE
from kernels.hopper.matmul.tiling import COUNTERS, Cut, Tiling, cut, tiling_for

MODELS = [(17536, 5120), (5120, 17536), (5120, 8192), (8448, 5120), (30720, 7168), (7168, 30720)]


def plain(function: Any, cta: int, ctas: int) -> Any:
    """A kernel function as this CTA runs it, on integers."""
    language = SimpleNamespace(
        where=lambda condition, one, other: one if condition else other,
        minimum=min,
        maximum=max,
        program_id=lambda axis: cta,
        num_programs=lambda axis: ctas,
        constexpr=int,
    )
    return FunctionType(function.fn.__code__, {"gl": language})


def pieces_of(work: Cut, cta: int) -> list[tuple[int, int, int]]:
    """Tile and K range of each of a CTA's segments."""
    segments = plain(parts.segments, cta, work.ctas)
    segment = plain(parts.segment, cta, work.ctas)
    count, pieces, begin, end = segments(work.shared, work.sharing, work.whole, work.k_tiles)
    return [segment(i, pieces, begin, end, work.shared, work.k_tiles) for i in range(count)]


def check(work: Cut) -> None:
    """Each K tile of each tile is summed once; a CTA's two slots suffice; and those that share a
    tile are the ones that it is told of."""
    done = {}
    sharers: dict[int, list[tuple[int, bool]]] = {}
    for cta in range(work.ctas):
        slots = []
        for tile, k0, k1 in pieces_of(work, cta):
            assert 0 <= k0 < k1 <= work.k_tiles
            if k1 - k0 < work.k_tiles:
                slots.append(k0 == 0)
                sharers.setdefault(tile, []).append((cta, k0 == 0))
            for k in range(k0, k1):
                assert done.setdefault((tile, k), cta) == cta
        assert len(slots) == len(set(slots))
    assert len(done) == work.k_tiles * work.row_tiles * work.column_tiles
    told = plain(parts.sharers, 0, work.ctas)
    for tile, found in sharers.items():
        first, last = told(tile, work.shared, work.sharing, work.k_tiles)
        assert [cta for cta, _ in found] == list(range(first, last + 1))
        assert [begins for _, begins in found] == [True] + [False] * (last - first)


@pytest.mark.parametrize(("n", "k"), MODELS)
@pytest.mark.parametrize("m", [1, 64, 256, 300, 2048])
def test_the_models_own_products(m: int, n: int, k: int) -> None:
    check(cut(m, n, k, tiling_for(m, n, k), 132))


def test_any_product_on_any_number_of_multiprocessors() -> None:
    draw = random.Random(1)
    for _ in range(150):
        consumers, columns = draw.choice([1, 2, 3]), draw.choice([16, 64, 256])
        splits = draw.choice([0, 1, 2, 5])
        extra = draw.choice([0, 16])
        tiling = Tiling(64, consumers, columns, 3, draw.random() < 0.5, splits, extra=extra)
        m, n, k = draw.randint(1, 400), 16 * draw.randint(1, 60), 16 * draw.randint(1, 90)
        check(cut(m, n, k, tiling, draw.choice([1, 3, 7, 132])))


def test_tiles_are_placed_once_each() -> None:
    place = plain(parts.place, 0, 1)
    for rows, columns, group in ((1, 5, 8), (8, 3, 8), (21, 7, 4), (3, 1, 8)):
        places = {place(tile, rows, columns, group) for tile in range(rows * columns)}
        assert places == {(r, c) for r in range(rows) for c in range(columns)}


@pytest.mark.parametrize(("n", "k"), MODELS)
def test_workspace_suffices(n: int, k: int) -> None:
    for m in (1, 16, 17, 64, 65, 128, 192, 256, 257, 512, 2048, 8192):
        tiling = tiling_for(m, n, k)
        assert tiling.partials * tiling.ctas <= LARGEST_TILE
        assert cut(m, n, k, tiling, 132).shared * tiling.consumers <= COUNTERS
