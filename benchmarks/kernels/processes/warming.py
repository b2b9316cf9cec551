"""Compiles ahead, in several processes at once: Triton keeps what it compiled in its cache.

`python -m benchmarks.kernels.processes.warming NAME...` calls our implementations of cases once
each, and peers that compile; nothing is timed. What fails here fails again, and is told, when it is
measured.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from benchmarks.kernels.cases import Case, every_case

WARM_S = 100.0
"""What warming up may take."""
KIN = ("m", "epilogue", "heads", "kv", "kv_heads", "hidden", "top_p")
"""What of a shape a kernel is compiled for, by and large."""
TUNED = {"m": 2048, "model": "13b", "product": "up"}
"""The shape for which torchao's kernel is tuned here: others need the same candidates."""


def warm(cases: Sequence[Case], processes: int, say: Callable[[str], None]) -> None:
    """Run so many processes on all cases; those that take too long are ended."""
    begin = time.monotonic()
    command = [sys.executable, "-m", "benchmarks.kernels.processes.warming"]
    running = [
        subprocess.Popen([*command, *names], stdout=subprocess.DEVNULL)
        for names in shared_out(cases, processes)
    ]
    late = 0
    for process in running:
        try:
            process.wait(timeout=max(0.1, begin + WARM_S - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            late += 1
    words = f", {late} of {len(running)} processes ended early" if late else ""
    say(f"compiled ahead in {time.monotonic() - begin:.0f} s{words}")


def shared_out(cases: Sequence[Case], processes: int) -> list[list[str]]:
    """Names for each process; cases that are likely to need the same kernels go to one process."""
    kin: dict[tuple[object, ...], list[str]] = {}
    for case in cases:
        if case.operator not in ("copy", "read"):
            key = (case.operator, *(case.shape.get(name) for name in KIN))
            kin.setdefault(key, []).append(case.name)
    families = list(kin.values())
    shares = [families[i::processes] for i in range(processes)]
    return [[name for family in share for name in family] for share in shares if share]


def call_once(case: Case) -> None:
    """Each implementation's first call, on one set of inputs."""
    import torch

    from benchmarks.kernels.inputs import build
    from benchmarks.kernels.ours import OPERATORS
    from benchmarks.kernels.peers import PEERS

    compiling = {"sage_prefill"} | (
        {"torchao_mm"} if TUNED.items() <= case.shape.items() else set()
    )
    peers = [p for p in PEERS.get(case.operator, ()) if p.__name__ in compiling]
    for source in (OPERATORS[case.operator], *peers):
        try:
            for contender in source(case, build(case, "cuda", 0.0)):
                contender.calls[0]()
                torch.cuda.synchronize()
        except Exception as error:
            sys.stderr.write(f"warming {case.name}: {type(error).__name__}\n")


def main() -> int:
    """Warm up the named cases."""
    import torch

    by_name = {case.name: case for case in every_case()}
    for name in sys.argv[1:]:
        call_once(by_name[name])
        torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
