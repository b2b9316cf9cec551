"""Where the difference comes from: the simulation again, with one measured thing after the other.

Step by step the simulation is given what was measured: when messages were really handed in, how
long steps of each kind took, how long the engine was at its own work between them. What each change
moves a figure by is that cause's part; what is left is neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from calibrate.bench import Setting
from calibrate.fidelity.compare.figures import Figures, figures
from calibrate.fidelity.compare.steps import measured_host, measured_steps
from calibrate.fidelity.curves import curves_for
from calibrate.fidelity.outcome import Ints
from calibrate.fidelity.serve.drive import drive
from calibrate.fidelity.serve.fake import Distortion, FakeBench
from calibrate.fidelity.workload import Workload
from kaiju_sim.steptime.profile import Profile

CAUSES = ("arrival_jitter", "step_time", "engine_host", "rest")
EXPLAINED = ("ttft", "tpot", "itl", "e2e", "throughput", "capacity_messages_per_s",
             "capacity_tokens_per_s")  # fmt: skip


def stages(
    setting: Setting, profile: Profile, workload: Workload, handed_in: Ints,
    known: Sequence[Figures], steps: Sequence[Mapping[str, Any]],
) -> list[Figures]:  # fmt: skip
    """Figures as simulated, then with one cause more taken from the measurement each time, and as
    measured. `known`: the simulator's with messages when they were due, the same with messages when
    they were handed in, the measured ones."""
    moved = shifted(workload, handed_in)
    nominal, jittered, measured = known
    return [
        nominal,
        jittered,
        _again(setting, profile, moved, workload, measured_steps(steps)),
        _again(setting, profile, moved, workload, measured_host(steps)),
        measured,
    ]


def _again(
    setting: Setting, profile: Profile, moved: Workload, workload: Workload, changed: Distortion
) -> Figures:
    """On the engine itself, under a fake clock: it decides as the simulator does."""
    bench = FakeBench(setting.blocks, setting.limits.windows, changed, profile=profile)
    curves = curves_for(profile, setting.limits)
    return figures(drive(bench, setting, curves, moved).outcome, workload)


def shifted(workload: Workload, arrivals_ns: Ints) -> Workload:
    """The same messages at other times (in the same order)."""
    at = [max(0, int(t)) for t in arrivals_ns]
    messages = [m._replace(arrival_ns=t) for m, t in zip(workload.messages, at, strict=True)]
    return replace(workload, messages=messages)


def table(workload: str, staged: Sequence[Figures]) -> list[dict[str, Any]]:
    """A row for each figure: its error, and each cause's part of it, all relative to what was
    measured. The parts' sum is the error."""
    measured = staged[-1]
    keys = [key for key in staged[0] if key[0] in EXPLAINED and all(key in s for s in staged)]
    return [_row(workload, key, [s[key] for s in staged]) for key in keys if measured[key]]


def _row(workload: str, key: tuple[str, str], values: Sequence[float]) -> dict[str, Any]:
    measured = values[-1]
    parts = [
        (before - after) / measured for before, after in zip(values[:-1], values[1:], strict=True)
    ]
    return {
        "workload": workload, "metric": key[0], "statistic": key[1],
        "rel_error": values[0] / measured - 1, **dict(zip(CAUSES, parts, strict=True)),
    }  # fmt: skip
