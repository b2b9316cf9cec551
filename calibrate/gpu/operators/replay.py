"""Times calls of one operator: a sample is one replay of a CUDA graph that holds several.

So a call is timed as it runs in a step's graph, with the gap between two launches and without the
host. Before each replay a buffer larger than the L2 cache is read, which evicts what the replay
before it has left there; within a replay every call has weights or pages of its own. That read also
keeps the device busy while the host queues the replay.
"""

import time
from collections.abc import Callable, Sequence

import torch

from calibrate.gpu.stopwatch import CUDA, Stopwatch
from kernels.common.device import capture

Call = Callable[[], object]
"""One call of an operator. It keeps its inputs alive."""

REPLAY_S = 2.5e-3
LEAST_CALLS = 4
FLUSH_BYTES = 128 << 20
"""Read before a replay: more than twice the 50 MB of an H100's L2."""


class GraphReplay:
    """Calls in a CUDA graph, as many of them as take some 2.5 ms, but at least four."""

    def __init__(self, calls: Sequence[Call], timer: "GraphTimer") -> None:
        self._timer, self._watch = timer, Stopwatch()
        # A graph holds addresses: inputs must live as long, and they live in the calls.
        self._calls = list(calls)[: timer.worth(calls)]
        for call in self._calls:
            call()
        self._graph = timer.capture(self._calls)

    def seconds(self) -> float:
        """Of one call: a replay's time over its calls."""
        self._timer.flush()
        self._watch.start()
        self._graph.replay()
        self._watch.stop()
        return self._watch.seconds() / len(self._calls)


class GraphTimer:
    """Makes replays on one device, from one stream: the products' workspace is the stream's."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = CUDA.Stream(device)
        self._buffer = torch.zeros(FLUSH_BYTES // 4, dtype=torch.int32, device=device)
        self._sum = torch.zeros((), dtype=torch.int64, device=device)

    def prepare(self, calls: Sequence[Call]) -> GraphReplay:
        """Warm up and capture. Raises whatever the calls raise."""
        torch.cuda.synchronize(self._device)
        with torch.cuda.stream(self._stream):
            replay = GraphReplay(calls, self)
        torch.cuda.synchronize(self._device)
        return replay

    def worth(self, calls: Sequence[Call]) -> int:
        """How many calls are worth timing: the first one is run, which may compile it, and again,
        timed. The host's part in that is longer than a short call, so it is too few for some."""
        calls[0]()
        torch.cuda.synchronize(self._device)
        begin = time.perf_counter()
        calls[0]()
        torch.cuda.synchronize(self._device)
        return max(LEAST_CALLS, round(REPLAY_S / (time.perf_counter() - begin)))

    def capture(self, calls: Sequence[Call]) -> torch.cuda.CUDAGraph:
        """The calls as a graph with memory of its own, which goes when the graph goes."""
        torch.cuda.synchronize(self._device)
        return capture(lambda: [call() for call in calls])

    def flush(self) -> None:
        """Evict what lies in L2, by reading: written lines would still have to go to memory."""
        torch.sum(self._buffer, dim=0, out=self._sum)

    def release(self) -> None:
        """Give the memory of replays that are gone back to the device: a graph's own pool is of no
        use to others."""
        torch.cuda.empty_cache()


class PlainReplay:
    """A single call by the host's clock, for the interpreter."""

    def __init__(self, call: Call) -> None:
        self._call = call

    def seconds(self) -> float:
        """Of one call."""
        begin = time.perf_counter()
        self._call()
        return time.perf_counter() - begin


class PlainTimer:
    """Makes replays without a GPU."""

    def prepare(self, calls: Sequence[Call]) -> PlainReplay:
        """Nothing is run yet."""
        return PlainReplay(calls[0])

    def release(self) -> None:
        """Nothing is held."""


Timer = GraphTimer | PlainTimer
Replay = GraphReplay | PlainReplay


def timer_for(device: torch.device) -> Timer:
    """What times calls on this device."""
    return GraphTimer(device) if device.type == "cuda" else PlainTimer()
