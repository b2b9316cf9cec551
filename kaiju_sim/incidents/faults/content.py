"""What is said changes: a storm of edits, a character that goes viral, the date at midnight."""

import numpy as np

from kaiju_sim import rng
from kaiju_sim.engine.layout import Arr
from kaiju_sim.fleet.elastic.story import Story
from kaiju_sim.fleet.messages.prompts import DAY_NS
from kaiju_sim.incidents.faults.fault import Fault
from kaiju_sim.scenario.parts.faults import EditStorm, Midnight, ViralCharacter
from kaiju_sim.workload.popularity import alias_table, pick, zipf_shares

GAP, WHOM = 0, 1
"""What is drawn for each edit of a storm."""


class Storm(Fault[EditStorm]):
    """Definitions are edited until it ends by itself or edits are refused."""

    def strike(self) -> Story:
        """Edits, one after the other."""
        self.tell(f"{self.part.edits_per_minute:g} edits a minute")
        start, done = int(self.env.now), 0
        mean_ns = 60e9 / self.part.edits_per_minute
        while not self.over:
            gap = rng.exponential(mean_ns, self._draw(done, GAP))
            yield self.env.timeout(max(1, int(gap)))
            lasts = self.part.lasts
            self.over |= lasts is not None and int(self.env.now) - start > lasts * 1e9
            if not self.over:
                self.control.edit(self._whom(self._draw(done, WHOM)))
                done += 1
        self.tell(f"the edits are over: {done}")

    def remedy(self) -> str:
        """Edits are refused."""
        self.over = True
        return "edits are refused"

    def _whom(self, u: float) -> int:
        users = self.control.cell.users
        if self.part.head is None:
            return pick(users.threshold, users.alias, u)
        return int(u * min(self.part.head, users.threshold.size))

    def _draw(self, edit: int, what: int) -> float:
        who = (self.number << 32) | (self.control.index << 40) | edit
        return rng.uniform(self.control.plant.scenario.seed, rng.INCIDENT, who, what)


class Viral(Fault[ViralCharacter]):
    """New dialogues come more often, and a share of them with one character."""

    before: tuple[Arr, Arr] | None = None

    def strike(self) -> Story:
        """The rush begins, and may end by itself."""
        users = self.control.cell.users
        self.before = users.threshold.copy(), users.alias.copy()
        users.threshold[:], users.alias[:] = alias_table(self._shares())
        users.rate[:] *= self.part.surge
        self.tell(f"character {self.part.character} goes viral")
        if self.part.lasts is not None:
            yield from self.lasting(self.part.lasts)
            self._end()

    def remedy(self) -> str:
        """It is no longer promoted."""
        self._end()
        return "the character is no longer promoted"

    def _end(self) -> None:
        """New dialogues are as before; those that have begun go on."""
        if self.over or self.before is None:
            return
        self.over = True
        users = self.control.cell.users
        users.threshold[:], users.alias[:] = self.before
        users.rate[:] /= self.part.surge
        self.tell("the rush is over")

    def _shares(self) -> Arr:
        c = self.control.plant.scenario.characters
        share = zipf_shares(c.count, c.zipf, c.head_cap) * (1.0 - self.part.share)
        share[self.part.character] += self.part.share
        return np.asarray(share)


class Rollover(Fault[Midnight]):
    """The date changes for everybody at once."""

    def strike(self) -> Story:
        """The clock of the prompts jumps to the next midnight."""
        cell = self.control.cell
        now = int(self.env.now)
        left = DAY_NS - (now + cell.prompts.day_offset_ns) % DAY_NS
        prompts = cell.prompts._replace(day_offset_ns=cell.prompts.day_offset_ns + left)
        self.control.cell = cell._replace(prompts=prompts)
        self.over = True
        self.tell(f"the date in all prompts changes ({prompts.date_tokens} tokens)")
        yield self.env.timeout(0)

    def remedy(self) -> str:
        """Nothing but time fills caches."""
        return "nothing to do: caches fill as dialogues speak"
