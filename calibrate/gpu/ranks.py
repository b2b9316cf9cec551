"""The other ranks of a model on several GPUs: a process each, which does as rank 0 says.

Rank 0 says what to do over a pipe, then does the same itself; the ranks meet in the all-reduces of
the captured graphs. A rank that fails says why and ends; rank 0 then raises instead of waiting for
an all-reduce that nobody joins.
"""

import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from calibrate.gpu.engine import Engine, load_engine
from calibrate.gpu.steps import prepare_step
from calibrate.shapes import StepShape
from kaiju_sim.errors import UserError
from kernels.model import parallel
from kernels.model.config import ModelConfig
from kernels.model.model import Reduce

WAIT_S = 10.0
REPEATS = 20


@dataclass
class Ranks:
    """The processes of ranks 1 and up, seen from rank 0."""

    config: ModelConfig
    processes: Sequence[BaseProcess]
    pipes: Sequence[Connection]
    meeting: Path
    closing: threading.Event = field(default_factory=threading.Event)
    """Set when the others are to end: an end before that is a failure."""

    @classmethod
    def start(cls, config: ModelConfig, ranks: int) -> "Ranks":
        """Start them; each loads its share of the model."""
        context = torch.multiprocessing.get_context("spawn")
        folder = Path(tempfile.mkdtemp(prefix="kaiju-ranks-"))
        processes, pipes = [], []
        for rank in range(1, ranks):
            here, there = context.Pipe()
            args = (config, rank, ranks, str(folder / "meeting"), there)
            process = context.Process(target=_serve, args=args, daemon=True)
            process.start()
            there.close()
            processes.append(process)
            pipes.append(here)
        started = cls(config, processes, pipes, folder / "meeting")
        threading.Thread(target=started._watch, daemon=True).start()
        return started

    def _watch(self) -> None:
        """End this process too when another rank is gone and this one does not see it, because it
        waits in a sum that will never come. What was measured is on disk."""
        wait([process.sentinel for process in self.processes])
        if self.closing.wait(WAIT_S):
            return
        codes = [process.exitcode for process in self.processes]
        sys.stderr.write(f"another rank ended unexpectedly (exit codes {codes})\n")
        os._exit(2)

    def join(self) -> Reduce:
        """Rank 0 joins them; what adds up over all."""
        device = torch.device("cuda", torch.cuda.current_device())
        parallel.join(0, len(self.processes) + 1, str(self.meeting), device)
        return parallel.add_up()

    def prepare(self, shape: StepShape, seed: int) -> None:
        """Have all prepare a step."""
        self._say("prepare", shape, seed)

    def step(self) -> None:
        """Have all run the step that was prepared last."""
        self._say("run")

    def all_reduce(self, rows: int) -> float:
        """Seconds of one all-reduce of `[rows, hidden]`, bf16: of a graph of several."""
        self._say("reduce", rows)
        return time_reduce(self.config.hidden, rows)

    def close(self) -> None:
        """End them. This rank's graphs have to be gone: NCCL waits for them."""
        self.closing.set()
        for pipe in self.pipes:
            try:
                pipe.send(("end",))
            except OSError:
                continue
        if torch.distributed.is_initialized():
            _part()
        for process in self.processes:
            process.join(WAIT_S)
            if process.is_alive():
                process.kill()
        self.meeting.unlink(missing_ok=True)
        self.meeting.parent.rmdir()

    def _say(self, *what: Any) -> None:
        for pipe, process in zip(self.pipes, self.processes, strict=True):
            try:
                if pipe.poll():
                    raise UserError(f"another rank failed: {pipe.recv()}")
                pipe.send(what)
            except (EOFError, OSError) as error:
                raise UserError(
                    f"another rank ended unexpectedly (exit code {process.exitcode})"
                ) from error


def _part() -> None:
    """Part from the others, all at once; not for ever, if one of them is gone: what was measured is
    worth more than a clean end."""
    device = torch.cuda.current_device()

    def leave() -> None:
        torch.cuda.set_device(device)  # which is a thread's own
        parallel.leave()

    parting = threading.Thread(target=leave, daemon=True)
    parting.start()
    parting.join(WAIT_S)
    if parting.is_alive():
        sys.stderr.write("the other ranks do not part; going on without\n")


def time_reduce(hidden: int, rows: int) -> float:
    """On every rank at once: mean seconds of an all-reduce, launched back to back from a graph."""
    value = torch.ones((rows, hidden), dtype=torch.bfloat16, device="cuda")
    reduce = parallel.add_up()
    reduce(value)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    # Of this thread only: NCCL has one of its own that asks after events.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        for _ in range(REPEATS):
            reduce(value)
    graph.replay()
    torch.cuda.synchronize()
    at = time.perf_counter()
    graph.replay()
    torch.cuda.synchronize()
    return (time.perf_counter() - at) / REPEATS


def _serve(config: ModelConfig, rank: int, ranks: int, meeting: str, pipe: Connection) -> None:
    """What a rank's process does."""
    # A terminal and Slurm tell every process; rank 0 says when it is the end, between two steps:
    # the sums of a step that others had left would never come.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        device = torch.device("cuda", rank)
        torch.cuda.set_device(device)
        parallel.join(rank, ranks, meeting, device)
        reduce = parallel.add_up()
        engine = load_engine(config, device, rank=rank, ranks=ranks, reduce=reduce)
        _obey(engine, pipe)
        engine.runner.release()
        _part()
    except BaseException as error:
        pipe.send(f"rank {rank}: {type(error).__name__}: {error}")
        # Without the others a rank would wait in its destructors for ever.
        os._exit(1)


def _obey(engine: Engine, pipe: Connection) -> None:
    """Do what rank 0 says until it says that this is the end.

    A step for which the pools are too small is refused here as there, before any sum: rank 0 leaves
    it out and goes on.
    """
    step = None
    while True:
        what, *rest = pipe.recv()
        if what == "end":
            return
        if what == "prepare":
            step = None
            with contextlib.suppress(ValueError):
                step = prepare_step(engine, *rest)
        elif what == "reduce":
            time_reduce(engine.config.hidden, *rest)
        else:
            assert step is not None
            engine.runner.run(step)
