"""The loop over steps: random order, warm-up, repetitions until the interval is narrow.

Round one visits every step once, fit and held-out steps shuffled together, so that both meet the
same clocks and power. Later rounds, in new random orders, go back to every step at least once (a
second visit at another time shows what a first one cannot: clocks that drift) and to those whose
interval is still wide, until all are narrow, have had 25 repetitions, or the time is up.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from calibrate.design.draws import generator
from calibrate.design.estimate import LEAST, MOST, WARM_UP, Estimate, visit_s
from calibrate.design.item import StepItem
from calibrate.measure.failures import Failures
from calibrate.measure.interval import is_narrow
from calibrate.measure.pace import Pace, droppable
from calibrate.measure.seam import Card, StepBench, Timing
from calibrate.measure.talk import Talk
from calibrate.samples import Store, Visit, step_row

AHEAD = 3
"""Repetitions beyond the least that a first visit may take while there is time for all."""
VISITS = 2
ROUNDS = 8


@dataclass
class StepLoop:
    """Measures steps into a store."""

    bench: StepBench
    card: Card
    store: Store
    pace: Pace
    estimate: Estimate
    talk: Talk
    prepare_s: float = 0.0
    dropped: list[str] = field(default_factory=list)
    failures: Failures = field(default_factory=Failures)
    _step_s: dict[str, float] = field(default_factory=dict)

    def warm_up(self, items: Sequence[StepItem], seconds: float) -> None:
        """Run the steps in turns for a while; the times are not kept."""
        begin = self.pace.elapsed()
        for item in itertools.cycle(items):
            self.bench.prepare(item.shape)
            self.bench.run(item.shape)
            if self.pace.elapsed() - begin >= seconds:
                break
        self.card.telemetry()

    def visit(self, item: StepItem, most: int) -> Visit:
        """Measure a step: `LEAST` repetitions, more up to `most` while its interval is wide."""
        begin = self.pace.elapsed()
        self.bench.prepare(item.shape)
        self.prepare_s += self.pace.elapsed() - begin
        for _ in range(WARM_UP):
            self.bench.run(item.shape)
        before = self.store.seconds(item.id)
        found: list[Timing] = []
        while len(found) < LEAST or (
            len(found) < most and not is_narrow([*before, *(t.wall_s for t in found)])
        ):
            found.append(self.bench.run(item.shape))
        return self._visit(item, found, begin)

    def _visit(self, item: StepItem, found: Sequence[Timing], begin: float) -> Visit:
        seen = self.card.telemetry()
        return Visit(
            key=item.id,
            row=step_row(item),
            wall_s=[timing.wall_s for timing in found],
            gpu_s=[timing.gpu_s for timing in found],
            sm_mhz=seen.get("sm_mhz"),
            watts=seen.get("watts"),
            slowed_by=str(seen.get("slowed_by") or ""),
            at_s=self.pace.earlier_s + begin,
        )

    def first_round(self, items: Sequence[StepItem], reserve_s: float) -> None:
        """Visit what has not been visited; drop what does not fit beside `reserve_s`."""
        waiting = [item for item in items if len(self.store.seconds(item.id)) < LEAST]
        queue = self._fitting(waiting, reserve_s)
        generator("order").shuffle(queue)
        done = 0
        while queue:
            item = queue.pop()
            self._measure(item, LEAST + AHEAD if self._ahead(queue, reserve_s) else LEAST)
            done += 1
            self.talk.progress("steps", self.pace.fraction(), self.pace.left())
            if done % 10 == 0:
                queue = self._fitting(queue, reserve_s)

    def later_rounds(self, items: Sequence[StepItem], reserve_s: float) -> None:
        """Go back to steps while there is time."""
        for number in range(ROUNDS):
            again = [item for item in items if self._wants_more(item)]
            generator(f"order-{number}").shuffle(again)
            again.sort(key=lambda item: len(self.store.visits[item.id]) >= VISITS)
            for item in self._in_time(again, reserve_s):
                self._measure(item, LEAST)
                self.talk.progress("steps again", self.pace.fraction(), self.pace.left())
            if not again:
                return

    def _in_time(self, items: Sequence[StepItem], reserve_s: float) -> Iterator[StepItem]:
        for item in items:
            cost = self._expected(item, LEAST) * self.pace.scale
            if self.pace.left() - reserve_s > cost:
                yield item

    def _wants_more(self, item: StepItem) -> bool:
        visits = self.store.visits.get(item.id, [])
        seconds = self.store.seconds(item.id)
        if not visits or len(seconds) + LEAST > MOST:
            return False
        return len(visits) < VISITS or not is_narrow(seconds)

    def _expected(self, item: StepItem, repetitions: int) -> float:
        if item.id not in self._step_s:  # asked for all of them again and again
            self._step_s[item.id] = self.estimate.step_s(item.shape)
        return visit_s(self._step_s[item.id], repetitions)

    def _measure(self, item: StepItem, most: int) -> None:
        begin = self.pace.clock.now()
        with self.failures.noted(item.id):
            visit = self.visit(item, most)
            self.store.add(visit)
            expected = self._expected(item, len(visit.wall_s))
            self.pace.learn(expected, self.pace.clock.now() - begin)

    def _fitting(self, queue: Sequence[StepItem], reserve_s: float) -> list[StepItem]:
        costs = [self._expected(item, LEAST) * self.pace.scale for item in queue]
        ranks = [item.rank for item in queue]
        gone = droppable(costs, ranks, self.pace.left() - reserve_s)
        self.dropped += [queue[place].id for place in gone]
        return [item for place, item in enumerate(queue) if place not in set(gone)]

    def _ahead(self, queue: Sequence[StepItem], reserve_s: float) -> bool:
        rest = sum(self._expected(item, LEAST + AHEAD) for item in queue) * self.pace.scale
        return rest < self.pace.left() - reserve_s
