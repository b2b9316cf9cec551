"""What the benchmarks of a GPU have in common: progress, and whose results are shown."""

import sys
from collections.abc import Sequence
from pathlib import Path


def say(line: str) -> None:
    """Progress, on stderr."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def gpu_of(asked: str | None, folder: Path, there: Sequence[str]) -> str:
    """Whose files to show, of GPUs that have some in the folder. Exits with a word if that is not
    clear."""
    if asked is None and len(there) == 1:
        return there[0]
    if asked in there:
        return str(asked)
    sys.exit(f"--gpu: give one of {', '.join(there)}" if there else f"no results in {folder}")
