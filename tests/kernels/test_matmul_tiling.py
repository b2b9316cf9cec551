"""Which tiling the Hopper matmul takes: near the best that was measured, sensible elsewhere."""

import pytest

from kernels.hopper.matmul.tiling import Tiling, cut, tiling_for

MULTIPROCESSORS = 132
NEAR_BEST = 1.035
"""Repeated measurements differ by up to 0.05 where power bounds, else by 0.01."""

MEASURED = """
16 5120 8192: w 64x16 whole 17.0, w 128x16 whole 17.2, w 64x16 even twice 17.6
16 5120 17536: w 64x16 3 each twice 33.4, w 128x16 whole 33.7, w 64x16 even twice 33.8
16 7168 8192: w 64x16 whole 21.3, w 64x16 even twice 22.6, w 128x16 whole 22.7
16 7168 30720: w 128x16 even 76.2, w 64x16 even twice 76.3, w 64x16 whole 78.8
16 8448 5120: w 64x16 whole 16.5, w 128x16 whole 17.2, w 128x16 even 17.6
16 8448 7168: w 64x16 whole 21.9, w 128x16 whole 23.1, w 128x16 even 23.3
16 17536 5120: w 64x16 whole 32.1, w 128x16 even 33.0, w 64x16 even twice 33.1
16 30720 7168: w 64x16 whole 76.4, w 64x16 even twice 77.1, w 128x16 even 77.2
64 5120 8192: w 64x64 even 18.1, w 64x64 whole 18.3, w 128x64 whole 18.5
64 5120 17536: w 128x64 whole 36.4, w 128x64 3 each 37.1, w 64x64 whole 37.5
64 7168 8192: w 64x64 whole 22.0, w 128x64 whole 23.9, w 64x64 even 24.2
64 7168 30720: w 64x64 whole 80.6, w 128x64 whole 80.9, w 64x64 even 82.2
64 8448 5120: w 64x64 even 17.0, w 64x64 whole 17.0, w 128x64 whole 18.3
64 8448 7168: w 64x64 even 22.6, w 64x64 whole 22.6, w 128x64 whole 24.2
64 17536 5120: w 64x64 whole 35.0, w 64x64 even 37.0, w 128x64 whole 37.1
64 30720 7168: w 64x64 whole twice 79.9, w 64x64 whole 80.1, w 128x64 whole 80.2
64 65536 5120: w 64x64 whole 120.1, w 64x64 even 125.4
128 5120 8192: x 64x80 whole 20.9, w 64x128 whole 21.4, x 128x48 whole 21.5, x 128x80 2 each 24.7
128 5120 17536: x 64x80 whole 39.4, x 128x48 whole 39.9, w 64x128 whole 41.7, x 128x80 2 each 41.7
128 17536 5120: x 128x144 whole 37.6, x 64x272 whole 39.7, w 64x128 whole 41.5
128 8448 5120: w 64x128 whole 20.8, w 128x128 whole 25.4
192 5120 8192: x 64x128 whole 23.7, w 128x64 whole 25.0, w 128x128 whole 38.6
192 5120 17536: x 64x128 whole 45.5, w 128x64 whole 50.1, x 256x128 3 each 62.5
192 8448 5120: x 192x64 whole 22.2, w 64x192 whole 23.7, x 64x192 whole 24.7, w 128x128 whole 27.2
192 17536 5120: x 192x144 whole 41.4, w 128x128 whole 59.1
256 5120 8192: x 128x80 whole 25.5, w 128x128 whole 29.1, w 128x96 whole 30.5, x 128x160 2 each 36.1
256 5120 17536: x 128x80 whole 48.8, x 256x80 2 each 55.5, x 128x160 2 each 55.9
256 7168 8192: w 128x128 whole 30.1, x 256x128 2 each 42.8, w 128x256 whole 42.8
256 7168 30720: x 256x128 2 each 108.2, w 128x256 2 each 111.5, w 128x128 whole 116.4
256 8448 5120: w 128x128 whole 24.8, x 128x128 whole 25.0, x 256x64 whole 25.0, w 128x256 whole 31.1
256 8448 7168: w 128x128 whole 29.8, w 128x128 even 30.1, w 128x256 whole 40.1
256 17536 5120: x 256x144 whole 45.9, x 128x272 whole 46.0, x 128x144 whole 46.3
256 30720 7168: x 256x128 whole 99.8, w 128x256 whole 102.4, w 128x256 even 110.4
320 5120 8192: x 128x128 whole 34.4, x 128x160 whole 35.0, x 192x80 whole 36.7, w 128x128 whole 37.6
320 5120 17536: x 128x128 whole 70.1, x 128x160 whole 73.7, w 128x128 whole 76.7
320 8448 5120: x 192x128 whole 30.7, x 128x192 whole 32.1, x 128x256 whole 34.1
320 17536 5120: x 128x256 whole 63.6, x 128x144 whole 69.3, x 128x272 whole 70.8
512 5120 8192: x 128x160 whole 36.4, x 256x80 whole 39.5, x 256x128 whole 45.1, w 128x128 whole 49.2
512 5120 17536: x 128x160 whole 67.2, x 256x80 whole 76.7, x 256x128 whole 87.6
512 8448 5120: x 256x128 whole 35.5, x 128x256 whole 36.9
512 17536 5120: x 128x272 whole 71.6, x 256x144 whole 75.0, x 128x256 2 each 85.1
1024 5120 8192: x 192x256 whole 67.7, w 128x128 whole 70.8, x 128x256 2 each 76.4
1024 17536 5120: x 128x256 2 each 135.1, x 256x128 whole 141.9, x 128x256 whole 144.8
2048 5120 8192: x 128x256 2 each 123.4, x 256x128 2 each 130.4, x 128x256 whole 132.7
2048 5120 17536: x 128x256 2 each 240.8, x 128x256 whole 264.9, x 256x128 whole 266.1
2048 7168 8192: x 128x256 2 each 168.2, x 256x128 2 each 174.4, x 128x256 whole 174.8
2048 7168 30720: x 128x256 2 each 565.7, x 128x256 whole 610.1, x 256x128 whole 617.5
2048 8192 5120: x 256x128 whole 116.7, x 128x256 whole 117.9, x 192x256 whole 139.0
2048 8448 5120: x 128x256 whole 118.3, x 256x128 whole 118.7, x 192x256 whole 139.8
2048 8448 7168: x 256x128 whole 156.7, x 128x256 whole 157.0, x 192x256 whole 183.3
2048 17536 5120: x 128x256 2 each 256.7, x 128x256 whole 258.1, w 128x256 whole 259.8
2048 30720 7168: x 128x256 whole 581.0, x 256x128 whole 593.4, x 192x256 whole 631.9
8192 5120 8192: x 128x256 whole 438.6, x 256x128 whole 450.3, x 192x256 whole 498.3
8192 5120 17536: x 128x256 whole 900.6, x 256x128 whole 939.2, x 192x256 whole 981.4
8192 7168 8192: x 256x128 whole 626.1, x 128x256 whole 628.2, x 192x256 whole 710.7
8192 7168 30720: x 128x256 whole 2166.8, x 256x128 whole 2335.2, x 192x256 whole 2464.0
8192 8192 5120: x 128x256 whole 472.5, x 256x128 whole 504.0, x 192x256 whole 516.6
8192 8448 5120: x 256x128 whole 479.2, x 128x256 whole 487.6, x 192x256 whole 544.3
8192 8448 7168: x 128x256 whole 624.7, x 256x128 whole 625.9, x 192x256 whole 664.9
8192 17536 5120: x 128x256 whole 950.7, x 256x128 whole 991.4, x 128x256 2 each 1014.8
8192 30720 7168: x 128x256 whole 2298.6, x 256x128 whole 2354.6, x 192x256 whole 2583.6
"""
"""M N K: microseconds of the fastest tilings on an H100 SXM (docs/kernels-log.md), weights (w) or
tokens (x) as rows, each tile whole or shared evenly or by so many CTAs each where the last wave is
part empty, two CTAs a multiprocessor if "twice". Up to 384 tokens and with weights as rows
chained."""

WIDE = {
    (1024, 5120, 8192): "x 128x160 whole",
    (1024, 5120, 17536): "x 128x160 whole",
}
"""Taken where they add a residual, by the model alone: not measured at these sizes."""

TAKEN = {
    (192, 7168, 8192): "x 64x192 whole",
    (192, 30720, 7168): "x 192x64 whole",
    (320, 7168, 8192): "x 128x192 whole",
    (320, 7168, 30720): "x 128x192 whole",
    (512, 8448, 7168): "x 256x128 whole",
    (512, 7168, 30720): "x 256x128 whole",
    (768, 17536, 5120): "x 128x272 whole",
    (256, 10240, 8192): "x 128x160 whole",
    (256, 16384, 10240): "x 256x128 whole",
    (320, 16384, 10240): "x 192x128 whole",
    (512, 10240, 16384): "x 128x160 whole",
    (512, 114688, 10240): "x 256x128 whole",
}
"""Of the 34B, 13B and 110B on two ranks, by the model alone."""


def lines() -> list[tuple[tuple[int, int, int], dict[str, float]]]:
    found = []
    for line in MEASURED.strip().splitlines():
        size, _, rest = line.partition(": ")
        m, n, k = map(int, size.split())
        pairs = (entry.rsplit(" ", 1) for entry in rest.split(", "))
        found.append(((m, n, k), {name: float(time) for name, time in pairs}))
    return found


def name(m: int, n: int, k: int, tiling: Tiling) -> str:
    """As the table has it: what is launched, whatever the tiling would do elsewhere."""
    work = cut(m, n, k, tiling, MULTIPROCESSORS)
    how = f"{work.sharing // max(work.shared, 1)} each" if tiling.splits else "even"
    tile = f"{tiling.rows * tiling.consumers}x{tiling.width}"
    words = ["w" if tiling.swap else "x", tile, how if work.shared else "whole"]
    return " ".join(words + ["twice"] * (tiling.ctas == 2))


ADDING = (5120, 7168)
"""Weights of the layers that add a residual: the hidden sizes."""


@pytest.mark.parametrize(
    ("size", "times", "residual"),
    [(*line, add) for line in lines() for add in {False, line[0][1] in ADDING}],
)
def test_near_the_best_that_was_measured(
    size: tuple[int, int, int], times: dict[str, float], residual: bool
) -> None:
    served = {key: time for key, time in times.items() if not (residual and "192x" in key)}
    taken = name(*size, tiling_for(*size, residual=residual))
    if residual and size in WIDE:
        assert taken == WIDE[size]
    else:
        assert served[taken] <= NEAR_BEST * min(served.values())


@pytest.mark.parametrize("size", TAKEN)
def test_by_the_model_alone(size: tuple[int, int, int]) -> None:
    assert name(*size, tiling_for(*size, residual=size[1] in (7168, 10240))) == TAKEN[size]


@pytest.mark.parametrize("m", [1, 16, 17, 64, 65, 128, 129, 200, 256, 257, 1000, 4096])
@pytest.mark.parametrize(
    ("n", "k"), [(32768, 10240), (10240, 32768), (1280, 32768), (10240, 2560), (5136, 5136)]
)
def test_other_sizes(m: int, n: int, k: int) -> None:
    """Tiles fit the tokens, and no multiprocessor waits long for the others."""
    tiling = tiling_for(m, n, k)
    work = cut(m, n, k, tiling, MULTIPROCESSORS)
    assert not tiling.swap or m > 256 or tiling.columns < 4 * max(m, 16)
    longest = -(-work.whole // (MULTIPROCESSORS * tiling.ctas)) * work.k_tiles
    longest += -(-work.shared * work.k_tiles // work.sharing)
    even = (work.shared + work.whole) * work.k_tiles / (MULTIPROCESSORS * tiling.ctas)
    assert longest <= max(1.7 * even, 96)


def test_options() -> None:
    for m in (1, 64, 128, 256, 300, 512, 1024, 8192):
        plain = tiling_for(m, 5120, 8192)
        chained = tiling_for(m, 5120, 8192, chained=True)
        assert not plain.chained
        assert chained == plain._replace(chained=m <= 384)
        assert tiling_for(m, 5120, 8192, residual=True).consumers < 3
