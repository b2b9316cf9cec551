"""`python -m kaiju_sim` is `kaiju-sim`."""

import sys

from kaiju_sim.cli import main

if __name__ == "__main__":
    sys.exit(main())
