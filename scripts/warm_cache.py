"""Compile the engine loop into the cache, so that several processes need not do it at once."""

import sys

from kaiju_sim.simulation import is_warm, warm_up


def main() -> int:
    """Compile, unless that has been done on this machine before."""
    if not is_warm():
        sys.stderr.write("compiling the engine loop: once, up to half a minute\n")
        warm_up()
    return 0


if __name__ == "__main__":
    sys.exit(main())
