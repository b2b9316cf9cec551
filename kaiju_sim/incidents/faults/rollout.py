"""A bad build goes out in waves."""

import numpy as np

from kaiju_sim.engine.layout import Arr
from kaiju_sim.fleet.elastic.story import Story
from kaiju_sim.fleet.setup.build import ns
from kaiju_sim.incidents.faults.fault import Fault
from kaiju_sim.scenario.parts.faults import BadRollout
from kaiju_sim.steptime.curves import CONTEXT_CURVES, Curves


def groups_of(curves: Curves) -> int:
    """Groups of replicas that the curves tell apart."""
    return int(curves.slope.shape[0]) // CONTEXT_CURVES


def with_slower(curves: Curves, factor: float) -> Curves:
    """The same groups, and each once more with steps that take `factor` times as long.

    Host time is of no group, so that the slower groups' rows have what is missing of it.
    """
    host = (factor - 1.0) * curves.host_ns
    return curves._replace(
        rows_ns=np.concatenate([curves.rows_ns, curves.rows_ns * factor + host]),
        seqs_ns=np.concatenate([curves.seqs_ns, curves.seqs_ns * factor]),
        slope=np.concatenate([curves.slope, curves.slope * factor]),
        offset=np.concatenate([curves.offset, curves.offset * factor]),
        rounds=np.concatenate([curves.rounds, curves.rounds]),
        engine=np.concatenate([curves.engine, curves.engine * factor]),
        rows=curves.rows_ns.size // groups_of(curves),
        seqs=curves.seqs_ns.size // groups_of(curves),
    )


class Rollout(Fault[BadRollout]):
    """Replicas get a slower build, wave by wave, until it is rolled back."""

    first = 0
    done: tuple[int, ...] = ()

    def strike(self) -> Story:
        """Wave after wave."""
        cell = self.control.cell
        curves = cell.world.engine.curves
        self.first = groups_of(curves)
        engine = cell.world.engine._replace(curves=with_slower(curves, self.part.slowdown))
        self.control.cell = cell._replace(world=cell.world._replace(engine=engine))
        for wave in self._waves():
            self._swap(wave, self.first)
            self.done += tuple(wave.tolist())
            self.tell(f"{len(self.done)} replicas have the new build")
            yield self.env.timeout(ns(self.part.wave_interval))
            if self.over:
                return

    def remedy(self) -> str:
        """Every replica gets its old build back."""
        self.over = True
        self._swap(np.asarray(self.done, np.int64), -self.first)
        return f"{len(self.done)} replicas rolled back"

    def _waves(self) -> list[Arr]:
        count = self.control.cell.world.engine.replicas.size
        chosen = np.arange(max(1, round(count * self.part.share)))
        return [wave for wave in np.array_split(chosen, self.part.waves) if wave.size]

    def _swap(self, replicas: Arr, step: int) -> None:
        """Another group of curves for these replicas, whose KV no message holds is forgotten."""
        r = self.control.cell.world.engine.replicas
        r["group"][replicas] += step
        r["wipe"][replicas] = 1
