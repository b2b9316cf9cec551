"""What an engine is doing, in a line; read from any thread."""

from typing import NamedTuple

from calibrate.engine.engine import Engine


class Totals(NamedTuple):
    """Of the engine's life so far."""

    at_ns: int
    tokens: int
    prompt: int
    hit: int


class Gauge:
    """Figures since the last time that they were asked for."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._blocks = engine.door.bounds.blocks
        self._before = self._totals()

    def line(self) -> str:
        """Requests, tokens/s, share of prompt tokens found in the cache, KV blocks in use."""
        before, now = self._before, self._totals()
        self._before = now
        seconds = max(now.at_ns - before.at_ns, 1) / 1e9
        prompt = now.prompt - before.prompt
        hit = f"{(now.hit - before.hit) / prompt:.0%}" if prompt else "-"
        running, cache = len(self._engine.running), self._engine.world.engine.caches[0]
        used = self._blocks - int(cache.free) - int(cache.idle)
        return (
            f"{running} running, {max(self._engine.door.inside - running, 0)} before that, "
            f"{(now.tokens - before.tokens) / seconds:.0f} tokens/s, hits {hit}, "
            f"KV {used / self._blocks:.0%} held, {int(cache.idle) / self._blocks:.0%} cached"
        )

    def _totals(self) -> Totals:
        r = self._engine.world.engine.replicas[0]
        now = self._engine.door.now_ns()
        return Totals(now, int(r.tokens), int(r.prompt), int(r.hit))
