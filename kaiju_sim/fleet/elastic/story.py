"""What the processes of the control plane are."""

from collections.abc import Generator
from typing import Any

import simpy

Story = Generator[simpy.Event, Any, None]
"""A SimPy process: it yields what it waits for."""
