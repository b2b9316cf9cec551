"""Memory of this machine: what host memory may take of it."""

from pathlib import Path

from kaiju_sim.errors import UserError

SHARE = 0.9
"""Of what is available, host memory takes so much at most: others need some."""
PROC, GROUPS = Path("/proc"), Path("/sys/fs/cgroup")
LIMITS = (
    ("memory.max", "memory.current", "memory.stat"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)
"""A container's limit, use, and what the use is made of: of control groups of version 2, and 1."""
CACHED = ("inactive_file", "total_inactive_file")
"""Of the use, files that are given up when memory is wanted."""


def available_bytes(proc: Path = PROC, groups: Path = GROUPS) -> int | None:
    """What programs can get now without swapping: the kernel's figure, or what a container's limit
    leaves if that is less. None where neither is told."""
    found = [left for names in LIMITS if (left := _left(*(groups / name for name in names)))]
    memory = _numbers(proc / "meminfo")
    if "MemAvailable:" in memory:
        found.append(memory["MemAvailable:"] * 1024)
    return min(found, default=None)


def check_fits(size: int, what: str) -> None:
    """UserError if so many bytes are more than may be taken of this machine. `what`: the verb that
    says what the size is."""
    left = available_bytes()
    if left is not None and size > SHARE * left:
        raise UserError(
            f"kv.host_memory: {what} {size / 1e9:.1f} GB, must be {SHARE * left / 1e9:.1f} GB at"
            f" most: {SHARE:.0%} of the {left / 1e9:.1f} GB that this machine has left"
        )


def _left(limit: Path, use: Path, parts: Path) -> int | None:
    """What a container may still take; None without a limit."""
    values = _text(limit).strip(), _text(use).strip()
    if not all(value.isdigit() for value in values):
        return None
    known = _numbers(parts)
    cached = max(known.get(name, 0) for name in CACHED)
    return max(1, int(values[0]) - int(values[1]) + cached)


def _numbers(file: Path) -> dict[str, int]:
    """Names and numbers, one to a line."""
    words = (line.split() for line in _text(file).splitlines())
    return {each[0]: int(each[1]) for each in words if len(each) > 1 and each[1].isdigit()}


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
