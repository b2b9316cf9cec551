"""Run as a program under NUMBA_BOUNDSCHECK=1 with an empty cache: is the compiled loop safe?

Every index of the compiled data plane is checked over random workloads, whose results must equal
the reference's; then the machine's own listing (LLVM) of the loop must neither allocate nor count
references. Both checks are first made to fail on functions that do what they forbid.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

import numba
import numpy as np

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "laws")]

FORBIDDEN = ("NRT_Allocate", "NRT_MemInfo_alloc", "NRT_incref", "NRT_decref")


def calls(function: Any) -> dict[str, int]:
    """How often the listing of a compiled function calls what is forbidden.

    Not in the wrapper that Python calls, which gives the arrays back once at the end.
    """
    (signature,) = function.signatures
    bodies = function.inspect_llvm(signature).split("\ndefine ")[1:]
    inside = [body for body in bodies if "cpython" not in body.split("(", 1)[0]]
    assert inside, "the listing has no functions"
    called = [line for body in inside for line in body.splitlines() if "call " in line]
    return {name: sum(name in line for line in called) for name in FORBIDDEN}


def beyond(values: Any) -> int:
    """Reads past the end."""
    return int(values[values.size])


def allocates(n: int) -> int:
    """Makes an array that cannot be optimised away."""
    values = np.zeros(n, np.int64)
    for i in range(n):
        values[i] = i * values[i - 1]
    return int(values[n // 2])


def controls() -> None:
    """The checks can fail."""
    try:
        numba.njit(beyond)(np.zeros(3, np.int64))
    except IndexError:
        pass
    else:
        raise AssertionError("bounds are not checked: set NUMBA_BOUNDSCHECK=1")
    jitted = numba.njit(allocates)
    jitted(5)
    assert any(calls(jitted).values()), "an allocation was not found"


def main() -> None:
    """Both checks on random workloads `0 .. n`."""
    from random_scenarios import write_traces
    from twins import compare

    from kaiju_sim.fleet.compiled import compiled_run_until

    controls()
    with tempfile.TemporaryDirectory() as folder:
        traces = write_traces(Path(folder))
        messages = sum(compare(number, traces) for number in range(int(sys.argv[1])))
    found = calls(compiled_run_until())
    sys.stdout.write(f"{messages} messages, calls {found}\n")
    assert not any(found.values()), found


if __name__ == "__main__":
    main()
