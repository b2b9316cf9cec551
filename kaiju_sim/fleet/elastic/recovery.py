"""The loss of the affinity table, and how it comes back: stored, rebuilt or learned anew."""

from typing import TYPE_CHECKING

from kaiju_sim.fleet.elastic import table
from kaiju_sim.fleet.elastic.story import Story
from kaiju_sim.fleet.setup.build import ns

if TYPE_CHECKING:
    from kaiju_sim.fleet.control import CellRun


class Table:
    """The control plane's hand on the affinity table of a cell."""

    def __init__(self, control: "CellRun") -> None:
        self.control, self.env = control, control.env
        self.router = control.plant.scenario.router
        self.stored: table.Snapshot | None = None

    def wanted(self) -> bool:
        """Whether snapshots are needed."""
        changes = self.control.plant.scenario.fleet.changes
        loses = any(change.action == "lose_table" for change in changes)
        return loses and self.router.recovery == "stored"

    def snapshots(self) -> Story:
        """Store the table from time to time; one that was lost is not stored until it is back."""
        while True:
            yield self.env.timeout(ns(self.router.snapshot_interval))
            self.stored = table.snapshot(self.control.cell.routing)

    def lose(self) -> Story:
        """The table is lost; after a delay it is restored, as far as there is a way."""
        stored = self.stored
        table.lose(self.control.cell.routing)
        self._tell("lost")
        if self.router.recovery == "relearn":
            return
        yield self.env.timeout(ns(self.router.recovery_delay))
        if self.router.recovery == "rebuild":
            rows = table.put_back(self.control.cell, table.read_off(self.control.cell))
            self._tell(f"rebuilt from the caches: {rows} characters")
        elif stored is None:
            self._tell("not restored: no snapshot had been taken")
        else:
            rows = table.put_back(self.control.cell, stored)
            self._tell(f"restored from the last snapshot: {rows} characters")

    def _tell(self, detail: str) -> None:
        self.control.tell("table", f"cell {self.control.index}", detail)
