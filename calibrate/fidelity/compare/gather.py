"""The samples of each workload, card by card, beside their simulation."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from calibrate.bench import Setting
from calibrate.fidelity.curves import curves_for
from calibrate.fidelity.outcome import Outcome
from calibrate.fidelity.simulate import simulate
from calibrate.fidelity.store import Sample, Store
from calibrate.fidelity.workload import Workload
from kaiju_sim.errors import UserError
from kaiju_sim.steptime.profile import Profile

Make = Callable[[Mapping[str, Any]], Workload]


@dataclass(frozen=True)
class Compared:
    """One workload's runs on one card, each beside its simulation."""

    workload: Workload
    card: str
    """Its UUID."""
    runs: Sequence[Sample]
    simulated: Sequence[Outcome] = ()
    """Of each run: with the blocks that its engine had."""

    @property
    def pairs(self) -> list[tuple[Outcome, Outcome]]:
        """Measured and simulated."""
        outcomes = [run.outcome for run in self.runs]
        return list(zip(outcomes, self.simulated, strict=True))

    def simulated_with(self, profile: Profile) -> "Compared":
        """With the simulations; one serves all runs of engines that were alike."""
        known: dict[Setting, Outcome] = {}
        for setting in (run.setting for run in self.runs):
            if setting not in known:
                curves = curves_for(profile, setting.limits)
                known[setting] = simulate(setting, curves, self.workload)
        return replace(self, simulated=[known[run.setting] for run in self.runs])


def by_card(store: Store, make: Make, wanted: str | None) -> tuple[list[Compared], list[Compared]]:
    """What there is of the main card, and of others. The main one is `wanted` if it has any runs,
    else the one with most; UserError if there are no runs."""
    found = [one for name in store.workloads() for one in _of_workload(store, name, make)]
    if not found:
        raise UserError(f"there are no runs in {store.folder}")
    runs: Counter[str] = Counter()
    for one in found:
        runs[one.card] += len(one.runs)
    main = wanted if wanted in runs else runs.most_common(1)[0][0]
    return [o for o in found if o.card == main], [o for o in found if o.card != main]


def _of_workload(store: Store, name: str, make: Make) -> list[Compared]:
    runs = [store.load_run(name, number) for number in store.runs(name)]
    workload = store.load_workload(name) or make(runs[0].info["recipe"])
    for run in runs:
        if run.info["digest"] != workload.digest():
            raise UserError(f"a run of {name} is of another workload (--fresh measures again)")
    cards = dict.fromkeys(run.info["card"]["uuid"] for run in runs)
    return [
        Compared(workload, card, [run for run in runs if run.info["card"]["uuid"] == card])
        for card in cards
    ]
