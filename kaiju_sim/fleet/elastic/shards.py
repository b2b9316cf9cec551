"""The shards of a cell: ordered, loaded, warmed, serving, drained, given back.

    off -> coming -> [shadow -> ramp ->] serving -> draining -> off
                                         serving -> lost -> coming

A change acts on the gates of replicas (`REPLICA.active`) between two advances of the data plane.
Who drains gets no new message, finishes those under way and is then given back, its cache lost.
Whoever is taken back while it drains serves at once, its cache as it is. GPUs are billed from the
order to the release.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from kaiju_sim.engine.layout import DEAD, NEVER, OPEN, Arr
from kaiju_sim.engine.policy.routing import SHADOW
from kaiju_sim.fleet.elastic import table
from kaiju_sim.fleet.elastic.story import Story
from kaiju_sim.fleet.setup.build import ns
from kaiju_sim.scenario.parts.fleet import Change, Fleet

if TYPE_CHECKING:
    from kaiju_sim.fleet.control import CellRun

RAMP_STEPS = 20
"""A ramp opens the gate in so many equal steps."""
OFF, COMING, WARMING, SERVING, DRAINING = "off", "coming", "warming", "serving", "draining"
LOST = "lost"


class Billed(NamedTuple):
    """A shard that is or was paid for, from its order to its release (-1: not yet)."""

    shard: int
    start_ns: int
    stop_ns: int


class Shards:
    """What the control plane knows of a cell's shards, and what it does with them."""

    def __init__(self, control: "CellRun") -> None:
        self.control, self.env = control, control.env
        self.fleet: Fleet = control.plant.scenario.fleet
        self.epoch_ns = ns(control.plant.scenario.run.epoch)
        self.size = self.fleet.shard_replicas
        first = self.fleet.replicas // self.fleet.unit
        count = self.fleet.most_replicas // self.fleet.unit
        self.states = [SERVING] * first + [OFF] * (count - first)
        self.condemned: set[int] = set()  # dead until they are replaced
        self.missing: set[int] = set()  # lost, and not back in service
        self.orders = [0] * count  # a process lets go of a shard whose number has changed
        self.billed = [Billed(shard, 0, -1) for shard in range(first)]

    def of(self, *states: str) -> list[int]:
        """Shards in one of these states."""
        return [shard for shard, state in enumerate(self.states) if state in states]

    def provisioned(self) -> int:
        """Shards that serve or will."""
        return len(self.of(COMING, WARMING, SERVING))

    def paid_since(self, since_ns: int) -> Arr:
        """Which replicas were paid for at some time after `since_ns`."""
        paid = np.zeros(len(self.states), bool)
        for row in self.billed:
            paid[row.shard] |= row.stop_ns < 0 or row.stop_ns > since_ns
        return np.repeat(paid, self.size)

    def plan(self) -> Story:
        """The planned changes, in order of time."""
        for change in sorted(self.fleet.changes, key=lambda change: change.at):
            at = ns(change.at)
            if at >= self.control.end_ns:
                return
            yield self.env.timeout(at - int(self.env.now))
            self._act(change)

    def _act(self, change: Change) -> None:
        if change.action == "lose_table":
            self.env.process(self.control.table.lose())
        elif change.action == "scale":
            assert change.replicas is not None
            self.resize(change.replicas // self.fleet.unit, change.warm)
        elif change.action == "add_shards":
            self.add(change.count or 0, change.warm)
        elif change.shards:
            self.remove(list(change.shards))
        else:
            self.shrink(change.count or 0)

    def resize(self, count: int, warm: str) -> None:
        """Add or remove shards until `count` are provisioned."""
        more = count - self.provisioned()
        if more > 0:
            self.add(more, warm)
        else:
            self.shrink(-more)

    def add(self, count: int, warm: str) -> None:
        """Take back shards that drain, then order new ones."""
        back = self.of(DRAINING)[:count]
        for shard in back:
            self._set([shard], SERVING, "taken back")
            self._gate([shard], OPEN)
            self.orders[shard] += 1
        new = self.of(OFF)[: count - len(back)]
        if new:
            self._set(new, COMING, f"ordered ({warm})")
            self.billed += [Billed(shard, int(self.env.now), -1) for shard in new]
            self.env.process(self._come_up({s: self.orders[s] for s in new}, warm))

    def shrink(self, count: int) -> None:
        """Remove this many shards: those not yet serving first, highest numbers first."""
        order = self.of(COMING)[::-1] + self.of(WARMING)[::-1] + self.of(SERVING)[::-1]
        self.remove(order[:count])

    def remove(self, shards: list[int]) -> None:
        """Cancel or drain these shards; one that serves stays."""
        for shard in shards:
            if self.states[shard] == COMING:
                self._release(shard, "cancelled")
            elif self.states[shard] in (WARMING, SERVING):
                if self.lasting() == [shard]:
                    self._tell(shard, "not drained: no other shard serves")
                else:
                    self._drain(shard)
            else:
                self._tell(shard, f"not drained: it is {self.states[shard]}")

    def lasting(self) -> list[int]:
        """Shards that serve and have not to be replaced."""
        return [shard for shard in self.of(SERVING) if shard not in self.condemned]

    def silent(self) -> int:
        """Replicas that ought to serve and answer no health check."""
        ends = self.control.cell.world.engine.replicas["end"].reshape(-1, self.size)
        dead = set(np.flatnonzero((ends == DEAD).any(axis=1)).tolist())
        return len(dead | self.missing) * self.size

    def crash(self, shards: list[int], *, for_good: bool) -> None:
        """The replicas of these shards die at this instant; the router does not know it yet.

        `for_good`: they have to be replaced; else `revive` brings them back.
        """
        cell = self.control.cell
        for shard in shards:
            cell.world.engine.replicas["crashed"][self._of(shard)] = 1
        cell.desk["crashes"] += len(shards)
        self.condemned |= set(shards) if for_good else set()

    def revive(self, shards: list[int]) -> None:
        """Dead replicas of these shards compute again, but for those that have to be replaced."""
        replicas = self.control.cell.world.engine.replicas
        for shard in set(shards) - self.condemned:
            mine = replicas[self._of(shard)]
            dead = mine["end"] == DEAD
            mine["end"][dead] = NEVER
            mine["pending"][dead] = int(self.env.now)

    def fence(self, shards: list[int]) -> None:
        """Health checks take dead shards out of routing; what had been sent there is lost."""
        here = [shard for shard in shards if self.states[shard] != OFF]  # given back meanwhile
        self.crash(here, for_good=True)
        self._set(here, LOST, "lost")
        self.missing |= set(here)
        self._gate(here, 0)
        table.drop_shards(self.control.cell.routing, here)
        for shard in here:
            self.orders[shard] += 1

    def replace(self, shards: list[int]) -> None:
        """Replacements of lost shards are ordered, in their place and at their price."""
        self.condemned -= set(shards)
        self.revive(shards)  # nobody sends there before the gate opens
        lost = [shard for shard in shards if self.states[shard] == LOST]
        if lost:
            self._set(lost, COMING, "ordered (cold)")
            self.env.process(self._come_up({s: self.orders[s] for s in lost}, "cold"))

    def _of(self, shard: int) -> slice:
        return slice(shard * self.size, (shard + 1) * self.size)

    def _come_up(self, orders: dict[int, int], warm: str) -> Story:
        """From the order of shards to their service; those removed meanwhile drop out."""
        yield self.env.timeout(ns(self.fleet.provisioning_delay) + ns(self.fleet.load_delay))
        self._plan_moves(self._still(orders))
        if warm == "shadow":
            yield from self._warm_up(orders)
        shards = self._still(orders)
        table.settle_moves(self.control.cell.routing, shards)
        self._set(shards, SERVING, "serves")
        self.missing -= set(shards)
        self._gate(shards, OPEN)

    def _warm_up(self, orders: dict[int, int]) -> Story:
        """Copies of messages, then a growing share of the dialogues that move."""
        self._set(self._still(orders), WARMING, "shadow")
        self._gate(self._still(orders), SHADOW)
        yield self.env.timeout(ns(self.fleet.shadow_time))
        self._set(self._still(orders), WARMING, "ramp")
        for step in range(1, RAMP_STEPS):
            self._gate(self._still(orders), OPEN // RAMP_STEPS * step)
            yield self.env.timeout(ns(self.fleet.ramp_time) // (RAMP_STEPS - 1))

    def _still(self, orders: dict[int, int]) -> list[int]:
        """Those of these shards that were not removed since."""
        return [shard for shard, order in orders.items() if self.orders[shard] == order]

    def _plan_moves(self, shards: list[int]) -> None:
        if not shards:
            return
        g = self.control.cell.routing
        moved = table.plan_moves(g, shards, len(self.of(SERVING)), int(self.env.now))
        if moved:
            where = f"cell {self.control.index}"
            self.control.tell("table", where, f"{moved} characters to new shards")

    def _drain(self, shard: int) -> None:
        self._set([shard], DRAINING, "drains")
        self._gate([shard], 0)
        table.drop_shards(self.control.cell.routing, [shard])
        self.orders[shard] += 1
        self.env.process(self._release_when_empty(shard, self.orders[shard]))

    def _release_when_empty(self, shard: int, order: int) -> Story:
        """Give the shard back at the first epoch's end at which nothing is under way on it."""
        mine = slice(shard * self.size, (shard + 1) * self.size)
        while self.control.cell.world.engine.replicas["load"][mine].any():
            yield self.env.timeout(self.epoch_ns - int(self.env.now) % self.epoch_ns)
            if self.orders[shard] != order:
                return
        self.control.cell.world.engine.replicas["wipe"][mine] = 1
        self._release(shard, "released")

    def _release(self, shard: int, how: str) -> None:
        self.missing.discard(shard)
        self._set([shard], OFF, how)
        self.orders[shard] += 1
        last = max(i for i, row in enumerate(self.billed) if row.shard == shard)
        self.billed[last] = self.billed[last]._replace(stop_ns=int(self.env.now))

    def _gate(self, shards: list[int], gate: int) -> None:
        """Open or close the replicas of these shards."""
        gates = self.control.cell.world.engine.replicas["active"]
        for shard in shards:
            gates[shard * self.size : (shard + 1) * self.size] = gate
        self._wake(shards)
        state = self.control.cell.routing.state
        state["span"] = np.flatnonzero(gates)[-1] + 1
        state["ramping"] = ((gates > SHADOW) & (gates < OPEN)).sum()
        state["shadowing"] = ((gates >= SHADOW) & (gates < OPEN)).sum()

    def _wake(self, shards: list[int]) -> None:
        """What waits in the central queue does not wait for idle replicas that may pull now."""
        e = self.control.cell.world.engine
        if e.hub["length"][0] == 0:
            return
        r = e.replicas
        idle = (r["active"] == OPEN) & (r["end"] == NEVER) & (r["pending"] < 0)
        idle &= np.isin(np.arange(r.size) // self.size, shards)
        r["pending"][idle] = int(self.env.now)

    def _set(self, shards: list[int], state: str, detail: str) -> None:
        for shard in shards:
            self.states[shard] = state
            self._tell(shard, detail)

    def _tell(self, shard: int, detail: str) -> None:
        self.control.tell("shard", f"cell {self.control.index} shard {shard}", detail)
