"""Small workloads and engines for tests of the comparison."""

import functools
from pathlib import Path

import numpy as np

from calibrate.bench import Setting
from calibrate.engine.memory.pages import Piece
from calibrate.fidelity import command
from calibrate.fidelity.curves import curves_for
from calibrate.fidelity.measure import Open
from calibrate.fidelity.serve.fake import Distortion, FakeBench
from calibrate.fidelity.workload import Message, Workload
from calibrate.fidelity.workloads.rules import limits_of
from calibrate.fidelity.workloads.sessions import dialogues
from calibrate.measure.talk import Talk
from kaiju_sim.steptime.curves import Curves
from kaiju_sim.steptime.profile import Profile, load_profile

PROFILE = "h100-80gb-kaiju-13b-tp1"
BLOCKS, WINDOWS = 200_000, 4500


@functools.cache
def profile() -> Profile:
    return load_profile(PROFILE)


def recipe(name: str, seconds: float, warm_s: float = 0.0) -> dict[str, object]:
    return {
        "name": name, "seed": 1, "seconds": seconds, "warm_s": warm_s, "load": 0.7, "rate": 1.0,
        "one_pool": False, "is_trace": False, "left_out": 0, "context": 8704,
    }  # fmt: skip


@functools.cache
def chat(rate: float = 60.0, seconds: float = 3.0) -> Workload:
    """Dialogues of the published shape."""
    return dialogues(rate, seconds, 1, recipe("poisson-70", seconds, 0.5))


def crowd(count: int = 60, *, names: bool = True) -> Workload:
    """Requests that come faster than they are served, some with the same beginnings."""
    rng = np.random.default_rng(5)
    messages = []
    for i in range(count):
        prompt, output = int(rng.integers(200, 3000)), int(rng.integers(1, 60))
        head, blocks = min(3, prompt // 128), prompt // 128
        path = (Piece(int(rng.integers(4)), head), Piece(10 + i % 7, blocks - head))
        messages.append(Message(i * 7_000_000, prompt, output, i, 0, path if names else ()))
    return Workload(messages, messages[:5], recipe("poisson-70", 1.0, 0.1))


def setting(
    workload: Workload, *, blocks: int = BLOCKS, windows: int = WINDOWS, one_pool: bool = False,
    is_trace: bool = False,
) -> tuple[FakeBench, Setting, Curves]:  # fmt: skip
    """A bench, what it makes of the published rules, and the profile's curves."""
    bench = FakeBench(blocks, windows, profile=profile())
    limits = limits_of("kaiju-13b", workload.pieces, one_pool=one_pool, is_trace=is_trace)
    found = bench.fit(limits, 32_768)
    return bench, found, curves_for(profile(), found.limits)


def distorted(distortion: Distortion) -> Open:
    """An engine that differs from the profile in a known way."""
    return lambda: FakeBench(BLOCKS, WINDOWS, distortion, profile=profile())


def options(out: Path, *names: str, repeats: int = 1, seconds: float = 3.0) -> command.Options:
    return command.Options(PROFILE, names, repeats, seconds, 1, out, out / "no-data", 40.0)


def quiet() -> Talk:
    return Talk(quiet=True)
