"""Sobol's low-discrepancy points, with the direction numbers of Joe and Kuo.

S. Joe and F. Y. Kuo (2008), "Constructing Sobol sequences with better two-dimensional projections",
SIAM J. Sci. Comput. 30, 2635-2654; the file new-joe-kuo-6.21201, its first dimensions. A random
digital shift (Cranley and Patterson's idea in base 2) moves all points together, which keeps their
evenness and gives different ones for each seed.
"""

import numpy as np
from numpy.typing import NDArray

BITS = 32
POLYNOMIALS = (1, 3, 7, 11, 13, 19, 25, 37, 41, 47, 55, 59, 61, 67, 91, 97, 103, 109, 115, 131, 137)
"""Primitive polynomials over GF(2), one a dimension, all coefficients as bits."""
FIRST = (
    (1,),
    (1,),
    (1, 3),
    (1, 3, 1),
    (1, 1, 1),
    (1, 1, 3, 3),
    (1, 3, 5, 13),
    (1, 1, 5, 5, 17),
    (1, 1, 5, 5, 5),
    (1, 1, 7, 11, 19),
    (1, 1, 5, 1, 1),
    (1, 1, 1, 3, 11),
    (1, 3, 5, 5, 31),
    (1, 3, 3, 9, 7, 49),
    (1, 1, 1, 15, 21, 21),
    (1, 3, 1, 13, 27, 49),
    (1, 1, 1, 15, 7, 5),
    (1, 3, 1, 15, 13, 25),
    (1, 1, 5, 5, 19, 61),
    (1, 3, 7, 11, 23, 15, 103),
    (1, 3, 7, 13, 13, 15, 69),
)
"""The first direction numbers of each dimension."""
MOST_DIMENSIONS = len(POLYNOMIALS)


def sobol(count: int, dimensions: int, seed: int) -> NDArray[np.float64]:
    """`count` points in (0, 1)^dimensions, a row each; more points only add to fewer.

    Most even where `count` is a power of two.
    """
    rows = np.zeros((count, dimensions), np.uint64)
    index = np.arange(count, dtype=np.uint64)
    for dimension in range(dimensions):
        for bit, direction in enumerate(directions(dimension)):
            chosen = (index >> np.uint64(bit)) & np.uint64(1)
            rows[:, dimension] ^= chosen * np.uint64(direction)
    shift = np.random.Generator(np.random.PCG64(seed)).integers(
        0, 1 << BITS, dimensions, dtype=np.uint64
    )
    return np.asarray(((rows ^ shift) + 0.5) / 2.0**BITS)


def directions(dimension: int) -> list[int]:
    """Direction numbers of a dimension (from 0), as fractions of 2^32."""
    polynomial, known = POLYNOMIALS[dimension], FIRST[dimension]
    degree = polynomial.bit_length() - 1
    if degree == 0:  # van der Corput's sequence
        return [1 << (BITS - 1 - i) for i in range(BITS)]
    found = [value << (BITS - 1 - i) for i, value in enumerate(known)]
    for i in range(degree, BITS):
        value = found[i - degree] ^ (found[i - degree] >> degree)
        for k in range(1, degree):
            if polynomial >> (degree - k) & 1:
                value ^= found[i - k]
        found.append(value)
    return found
