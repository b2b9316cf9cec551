"""Run every operator at small sizes under NVIDIA's compute-sanitizer:

    python scripts/sanitize_kernels.py [memcheck] [racecheck]

memcheck finds accesses outside of any allocation (each tensor is one: torch's pool is off),
racecheck those in shared memory that no barrier orders. Only our kernels are watched, not torch's.
Prints a line for each tool; exit code 1 if one found anything, 2 if there is no tool or no GPU.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ("memcheck", "racecheck")
SECONDS = 500
SUMMARY = re.compile(r"(?:ERROR SUMMARY: (\d+) error|RACECHECK SUMMARY: (\d+) hazard)")
NOT_OURS = "kernel_substring=at6native,kernel_substring=cub"
RAN = "operators ran"


def command(sanitizer: str, tool: str) -> list[str]:
    """This script, as a child that runs the operators, under a tool."""
    watched = [sanitizer, "--tool", tool, "--error-exitcode", "1"]
    return [*watched, "--kernel-name-exclude", NOT_OURS, sys.executable, __file__, "--run"]


def found(output: str) -> int | None:
    """How many errors or hazards a tool's output counts; None if it did not come to its end."""
    counts = [int(errors or hazards) for errors, hazards in SUMMARY.findall(output)]
    return sum(counts) if counts and RAN in output else None


def sanitize(sanitizer: str, tool: str) -> bool:
    """Run a tool and say what it found; was that nothing?"""
    around = os.environ | {"PYTHONPATH": str(ROOT), "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    done = subprocess.run(
        command(sanitizer, tool),
        cwd=ROOT,
        env=around,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    count = found(done.stdout)
    clean = count == 0 and done.returncode == 0
    sys.stdout.write(f"{tool}: {'it did not come to its end' if count is None else count}\n")
    if not clean:
        sys.stdout.write(done.stdout)
    return clean


def run() -> None:
    """Each operator once, on the GPU; our results are compared elsewhere."""
    import torch

    from benchmarks.kernels.cases import small_cases
    from benchmarks.kernels.inputs import build
    from benchmarks.kernels.ours import OPERATORS

    for case in small_cases():
        for contender in OPERATORS[case.operator](case, build(case, "cuda", 0.0)):
            contender.calls[0]()
            torch.cuda.synchronize()
            sys.stdout.write(f"{case.name}: {contender.name}\n")
    sys.stdout.write(f"{RAN}\n")


def main(arguments: Sequence[str]) -> int:
    """Run all tools, or, as their child, the operators."""
    if list(arguments) == ["--run"]:
        run()
        return 0
    sanitizer = shutil.which("compute-sanitizer", path=f"{os.environ['PATH']}:/usr/local/cuda/bin")
    if sanitizer is None:
        sys.stderr.write("there is no compute-sanitizer (it comes with the CUDA toolkit)\n")
        return 2
    clean = [sanitize(sanitizer, tool) for tool in arguments or TOOLS]
    return 0 if all(clean) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
