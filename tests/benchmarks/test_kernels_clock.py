"""The clock of the GPU with the few calls of torch.cuda that it makes played by a double."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from benchmarks.kernels.gpu import CudaClock, Eager, Graph
from benchmarks.kernels.timing import Contender, side_by_side

torch = pytest.importorskip("torch")


class Device:
    """Time passes with each call, 100 us; calls that are being captured are kept instead."""

    def __init__(self) -> None:
        self.us = 0.0
        self.capturing: list[Callable[[], None]] | None = None

    def kernel(self) -> None:
        if self.capturing is not None:
            self.capturing.append(self.kernel)
        else:
            self.us += 100.0


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    made = Device()

    class CUDAGraph:
        def __init__(self) -> None:
            self.calls: list[Callable[[], None]] = []

        def replay(self) -> None:
            for call in self.calls:
                call()

    @contextmanager
    def graph(into: CUDAGraph) -> Iterator[None]:
        made.capturing = into.calls
        try:
            yield
        finally:
            made.capturing = None

    class Event:
        def __init__(self, enable_timing: bool) -> None:
            assert enable_timing
            self.at = 0.0

        def record(self) -> None:
            self.at = made.us

        def elapsed_time(self, end: "Event") -> float:
            return 1e-3 * (end.at - self.at)

    for name, double in (("CUDAGraph", CUDAGraph), ("graph", graph), ("Event", Event)):
        monkeypatch.setattr(torch.cuda, name, double)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    return made


def test_a_graph_holds_about_two_milliseconds_of_calls(device: Device) -> None:
    replay = CudaClock().prepare(Contender("x", [device.kernel] * 3))
    assert isinstance(replay, Graph)
    assert (replay.method, replay.calls) == ("graph", 21)  # 7 rounds of 3 calls of 100 us
    replay.start()
    replay.start()
    assert replay.seconds() == pytest.approx([2.1e-3, 2.1e-3])
    assert replay.seconds() == []


def test_long_calls_are_captured_once(device: Device) -> None:
    assert CudaClock().prepare(Contender("x", [device.kernel] * 40)).calls == 40


def test_what_cannot_be_captured_is_launched(device: Device) -> None:
    def stubborn() -> None:
        if device.capturing is not None:
            raise RuntimeError("operation not permitted when stream is capturing")
        device.kernel()

    replay = CudaClock().prepare(Contender("x", [stubborn] * 2))
    assert isinstance(replay, Eager)
    found = side_by_side({"x": replay}, 0.03)["x"]
    assert (found.method, found.calls) == ("eager", 20)
    assert found.us == pytest.approx([100.0] * len(found.us))


def test_a_call_that_fails_is_an_error(device: Device) -> None:
    del device
    with pytest.raises(ZeroDivisionError):
        CudaClock().prepare(Contender("x", [lambda: 1 / 0]))
