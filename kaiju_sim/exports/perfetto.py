"""A window of a run as a trace for ui.perfetto.dev: Chrome's trace event format, JSON.

Each replica is a process of the trace with a track of steps, whose slices have the batch as
arguments, and with counters: messages that wait, messages that run, KV blocks in use. What happened
to the fleet stands on a track of its own. Stamps are simulated microseconds from the run's start,
exact to the nanosecond.
"""

import gzip
import json
from collections.abc import Iterator, Sequence
from typing import Any

from kaiju_sim.exports.steps import Step, Steps, Window

FLEET, STEPS_TRACK = 1, 1
"""Process of the fleet's events (replica k is k + 2), thread of a replica's steps."""

Event = dict[str, Any]


def perfetto(
    cells: Sequence[Steps],
    window: Window,
    events: Sequence[tuple[float, str, str, str]],
    title: str,
) -> Iterator[str]:
    """The trace as text, an event a line; `events`: of the run (time_s, kind, subject, detail)."""
    missed = sum(cell.missed for cell in cells)
    origin = {"run": title, "window_ns": [window.begin, window.end], "steps_not_shown": missed}
    yield '{"displayTimeUnit":"ms",'
    yield f'"otherData":{_json(origin)},"traceEvents":[\n'
    yield ",\n".join(_json(event) for event in _events(cells, window, events, title))
    yield "\n]}\n"


def packed(text: str, name: str) -> bytes:
    """The file's content: packed by gzip (which Perfetto opens too) if its name ends so."""
    data = text.encode()
    return gzip.compress(data, mtime=0) if name.endswith(".gz") else data


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _events(
    cells: Sequence[Steps],
    window: Window,
    events: Sequence[tuple[float, str, str, str]],
    title: str,
) -> Iterator[Event]:
    yield _name("process_name", FLEET, f"fleet: {title}")
    for time_s, kind, subject, detail in events:
        if window.begin <= time_s * 1e9 < window.end:
            yield _instant(time_s, kind, subject, detail)
    for cell in cells:
        last: dict[tuple[int, str], float] = {}
        for step in sorted(cell.steps, key=lambda s: (s.replica, s.begin)):
            if (step.replica, "") not in last:
                last[step.replica, ""] = 0.0
                yield from _track(step.replica, cell.cell)
            yield _slice(step)
            yield from _counters(step, last)


def _name(what: str, process: int, name: str, thread: int = 0) -> Event:
    return {"ph": "M", "name": what, "pid": process, "tid": thread, "args": {"name": name}}


def _track(replica: int, cell: int) -> Iterator[Event]:
    process = replica + FLEET + 1
    yield _name("process_name", process, f"replica {replica} (cell {cell})")
    yield _name("thread_name", process, "steps", STEPS_TRACK)
    order = {"sort_index": process}
    yield {"ph": "M", "name": "process_sort_index", "pid": process, "tid": 0, "args": order}


def _us(ns: int) -> float:
    return ns / 1000


def _instant(time_s: float, kind: str, subject: str, detail: str) -> Event:
    args = {"subject": subject, "detail": detail}
    name = f"{kind} {subject}"
    place = {"pid": FLEET, "tid": 0, "s": "p", "cat": "event"}
    return {"ph": "i", "name": name, "ts": _us(round(time_s * 1e9)), **place, "args": args}


def _slice(step: Step) -> Event:
    args = {
        "decodes": step.decodes,
        "prefill_tokens": step.prefill_tokens,
        "prompts": step.prompts,
        "context_tokens": step.context_tokens,
    }
    name = "mixed" if step.decodes and step.prefill_tokens else "decode"
    return {
        "ph": "X",
        "name": name if step.decodes else "prefill",
        "cat": "step",
        "pid": step.replica + FLEET + 1,
        "tid": STEPS_TRACK,
        "ts": _us(step.begin),
        "dur": _us(step.end - step.begin),
        "args": args,
    }


def _counters(step: Step, last: dict[tuple[int, str], float]) -> Iterator[Event]:
    """The counters that have changed since the replica's last step."""
    values = {
        "waiting": step.waiting,
        "running": step.running + step.filling,
        "KV blocks in use, %": round(100 * step.kv_used / max(step.kv_blocks, 1), 3),
    }
    process = step.replica + FLEET + 1
    for name, value in values.items():
        if last.get((step.replica, name)) != value:
            last[step.replica, name] = value
            yield {
                "ph": "C",
                "name": name,
                "pid": process,
                "ts": _us(step.begin),
                "args": {"value": value},
            }
