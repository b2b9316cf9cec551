"""The plain copies that operators are measured against are good ones: 16 bytes an access."""

import sm90

WIDE = {"BLOCK": 2048}


def test_the_copy_is_wide() -> None:
    code = sm90.compile(
        "benchmarks.kernels.peers",
        "_copy_kernel",
        {"source": "*i32", "out": "*i32", "count": "i32"},
        WIDE | {"CHAINED": False},
        divisible_by_16=("source", "out", "count"),
    )
    assert code.count("LDG") == code.count("LDG", width=16) == 4
    assert code.count("STG") == code.count("STG", width=16) == 4


def test_the_read_is_wide_and_unrolled() -> None:
    code = sm90.compile(
        "benchmarks.kernels.peers",
        "_read_kernel",
        {"source": "*i32", "out": "*i32", "count": "i32"},
        WIDE | {"BLOCKS": 8},
        divisible_by_16=("source", "out", "count"),
    )
    assert code.count("LDG") == code.count("LDG", width=16) > 0
    assert code.spills == 0
