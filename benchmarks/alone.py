"""A measurement in a fresh process, so that the memory counted is that of this workload alone.

`python -m benchmarks.alone MODULE:FUNCTION JSON` calls the function with the JSON object's members
and prints what it returns, with the process's peak resident memory, as one line of JSON.
"""

import json
import resource
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def peak_rss_bytes() -> int:
    """Most memory that this process has had resident.

    From the kernel's note of this program where there is one (Linux): getrusage would count what
    the parent had resident when it started us.
    """
    status = Path("/proc/self/status")
    if status.exists():
        words = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(words["VmHWM"].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def alone(target: str, **arguments: Any) -> dict[str, Any]:
    """What `target` ("module:function") returns in a process of its own, and `peak_rss_bytes`."""
    command = [sys.executable, "-m", "benchmarks.alone", target, json.dumps(arguments)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main(target: str, arguments: str) -> None:
    """Call the function and print what it found."""
    module, name = target.split(":")
    found = getattr(import_module(module), name)(**json.loads(arguments))
    line = json.dumps(found | {"peak_rss_bytes": peak_rss_bytes()}, allow_nan=False)
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
