"""What an engine is doing, in a line; read from any thread."""

from typing import NamedTuple

from calibrate.engine.engine import Engine
from calibrate.engine.executor import TransferTime


class Totals(NamedTuple):
    """Of the engine's life so far."""

    at_ns: int
    tokens: int
    prompt: int
    hit: int
    far: int
    """Of the hits, those in host memory."""
    into: int
    """Bytes from host memory, and out to it."""
    out: int


class Traffic:
    """Bytes on the link to host memory: what has been seen to arrive."""

    def __init__(self, block_bytes: int, page_bytes: int) -> None:
        """Of a block, and of a page of the local pool."""
        self._block, self._page = block_bytes, page_bytes
        self.into = self.out = 0

    def told(self, transfer: TransferTime) -> None:
        """A batch has arrived."""
        size = transfer.blocks * self._block + transfer.local_pages * self._page
        if transfer.load:
            self.into += size
        else:
            self.out += size


class Gauge:
    """Figures since the last time that they were asked for."""

    def __init__(self, engine: Engine, traffic: Traffic | None = None) -> None:
        """`traffic`: on the link, if there is host memory."""
        self._engine, self._traffic = engine, traffic
        self._blocks = engine.door.bounds.blocks + engine.world.engine.limits.extra
        self._before = self._totals()

    def line(self) -> str:
        """Requests, tokens/s, share of prompt tokens found in the cache, KV blocks in use; of host
        memory how full it is, and bytes/s both ways."""
        before, now = self._before, self._totals()
        self._before = now
        new = Totals(*(b - a for a, b in zip(before, now, strict=True)))
        seconds = max(new.at_ns, 1) / 1e9
        running, cache = len(self._engine.running), self._engine.world.engine.caches[0]
        free, idle = int(cache.free), int(cache.idle)
        line = (
            f"{running} running, {max(self._engine.door.inside - running, 0)} before that, "
            f"{new.tokens / seconds:.0f} tokens/s, hits {_share(new.hit, new.prompt)}, "
            f"KV {_share(self._blocks - free - idle, self._blocks)} held, "
            f"{_share(idle, self._blocks)} cached"
        )
        return line if self._traffic is None else f"{line}; {self._far(new, seconds)}"

    def _far(self, new: Totals, seconds: float) -> str:
        """Of host memory."""
        cache = self._engine.world.engine.caches[0]
        blocks, windows = int(cache.host), int(cache.host_windows)
        return (
            f"host memory: hits {_share(new.far, new.prompt)}, "
            f"blocks {_share(blocks - int(cache.host_free), blocks)}, "
            f"windows {_share(windows - int(cache.host_windows_free), windows)}, "
            f"{new.into / seconds / 1e9:.2f} GB/s in, {new.out / seconds / 1e9:.2f} GB/s out"
        )

    def _totals(self) -> Totals:
        r, link = self._engine.world.engine.replicas[0], self._traffic
        now, moved = self._engine.door.now_ns(), (0, 0) if link is None else (link.into, link.out)
        return Totals(now, int(r.tokens), int(r.prompt), int(r.hit), int(r.hit_host), *moved)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "-"
