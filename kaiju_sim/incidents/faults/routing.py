"""The affinity table is lost."""

from kaiju_sim.engine.policy.routing import AFFINITY, LEAST_LOADED
from kaiju_sim.fleet.elastic import table
from kaiju_sim.fleet.elastic.story import Story
from kaiju_sim.fleet.setup.build import ns
from kaiju_sim.incidents.faults.fault import Fault
from kaiju_sim.scenario.parts.faults import TableLoss


class LostTable(Fault[TableLoss]):
    """The router goes on without a table until a copy takes over, or it is rebuilt."""

    def strike(self) -> Story:
        """The table is gone; with a second copy, that takes over by itself."""
        stored = table.snapshot(self.control.cell.routing)
        table.lose(self.control.cell.routing)
        if self.part.meanwhile == "spread":
            self._route_by(LEAST_LOADED)
        self.tell("affinity table lost")
        if self.part.store == "ha":
            yield self.env.timeout(ns(self.part.failover))
            self.tell(f"the second copy takes over: {self._restore(stored)} characters")

    def remedy(self) -> str:
        """The table is rebuilt from what caches hold, unless it is there again."""
        if self.over:
            return "nothing to do: the table is there"
        rows = self._restore(table.read_off(self.control.cell))
        return f"table rebuilt from the caches: {rows} characters"

    def _restore(self, stored: table.Snapshot) -> int:
        self.over = True
        self._route_by(AFFINITY)
        return table.put_back(self.control.cell, stored)

    def _route_by(self, policy: int) -> None:
        cell = self.control.cell
        self.control.cell = cell._replace(routing=cell.routing._replace(policy=policy))
