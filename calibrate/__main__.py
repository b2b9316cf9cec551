"""`python -m calibrate`; see docs/calibrate.md."""

import signal
import sys
from collections.abc import Sequence
from types import FrameType

from kaiju_sim.cli import run_app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line on `arguments` (default: the process's own): its exit code."""
    from calibrate.cli import make_app

    words = list(sys.argv[1:] if arguments is None else arguments)
    return run_app(make_app, "python -m calibrate", words)


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _interrupted)  # what a cluster sends before it kills
    sys.exit(main())
