"""An alarm: a condition on a signal that must hold for some time, and be over for some time."""

from kaiju_sim.fleet.setup.build import ns
from kaiju_sim.incidents.signals import Reading, value
from kaiju_sim.scenario.parts.incidents import Detection


class Watch:
    """Readings of one monitor, and what it makes of them.

    It sees metrics `delay` old, over the last `window` of those. A window without a value leaves
    the condition as it was.
    """

    def __init__(self, rule: Detection) -> None:
        self.rule = rule
        self.readings: list[Reading] = []
        self.bad = False
        self.since_ns: int | None = None
        self.last: float | None = None
        """The signal when it was last looked at."""

    def see(self, reading: Reading) -> None:
        """Take a reading, and look at the newest one that has arrived."""
        self.readings.append(reading)
        newest = reading.at_ns - ns(self.rule.delay)
        new = self._at(newest)
        old = self._at(newest - ns(self.rule.window))
        if new is None or old is None or new.at_ns == old.at_ns:
            return
        self._forget(old)
        self.last = value(self.rule.signal, old, new)
        if self.last is not None:
            self._judge(self.last, reading.at_ns)

    def rings(self, now: int) -> bool:
        """Whether the condition has held for `hold`."""
        return self.bad and self._lasted(now)

    def clear(self, now: int) -> bool:
        """Whether the condition has been false for `hold`."""
        return not self.bad and self._lasted(now)

    def _judge(self, signal: float, now: int) -> None:
        rule = self.rule
        above = rule.above is not None and signal > rule.above
        bad = above or (rule.below is not None and signal < rule.below)
        if bad != self.bad or self.since_ns is None:
            self.bad, self.since_ns = bad, now

    def _lasted(self, now: int) -> bool:
        return self.since_ns is not None and now - self.since_ns >= ns(self.rule.hold)

    def _at(self, when: int) -> Reading | None:
        """The newest reading that is not later than `when`."""
        return next((r for r in reversed(self.readings) if r.at_ns <= when), None)

    def _forget(self, oldest: Reading) -> None:
        """Drop the readings that no window will reach any more."""
        while self.readings[0].at_ns < oldest.at_ns:
            self.readings.pop(0)
