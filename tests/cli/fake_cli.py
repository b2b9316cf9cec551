"""A simulation that takes no time, so that the command line is tested and nothing else."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "report"))

SCENARIO = """\
schema_version: 1
name: Evening / small
seed: 3
traffic: {kind: poisson, messages_per_s: 5}
overrides:
  big: {fleet: {replicas: 4}}
"""


class FakeSimulation(ModuleType):
    """Stands in for `kaiju_sim.simulation`; remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__("kaiju_sim.simulation")
        self.calls: list[dict[str, Any]] = []
        self.warm = True
        self.error: BaseException | None = None

    def is_warm(self) -> bool:
        return self.warm

    def replicate(
        self,
        scenario: Any,
        replications: int,
        *,
        progress: Callable[[float], None] | None = None,
        **options: Any,
    ) -> Any:
        from made_up_run import result

        self.calls.append(
            {"scenario": scenario, "replications": replications, "progress": progress, **options}
        )
        if self.error is not None:
            raise self.error
        if progress is not None:
            progress(0.5)
        return result(messages=200, ticks=5)
