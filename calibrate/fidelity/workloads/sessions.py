"""Dialogues of the published shape, drawn by the simulator's own generator, with fixed arrivals.

In the simulator a user replies some time after the answer's end. Here every answer is taken to be
as long under way as `ANSWER_S` and `TOKEN_S` say, so that arrivals do not hang on who serves them:
an open loop, in which both engines meet the same messages at the same times.

How many dialogues are under way is the same at every rate: they take turns more often instead. So
what is cached, and with it the capacity, does not hang on the rate, and the knee is one of step
times, not of memory that runs out.
"""

from typing import Any

import numpy as np

from calibrate.engine.memory.pages import Piece
from calibrate.fidelity.workload import Message, Names, Workload
from calibrate.publish import ROOT
from kaiju_sim.engine.record import hand_over
from kaiju_sim.fleet.cell import end_warming, prepare
from kaiju_sim.fleet.control import CellRun
from kaiju_sim.fleet.messages.outcomes import answered, give_request
from kaiju_sim.fleet.messages.sending import arrive
from kaiju_sim.fleet.records import Cell
from kaiju_sim.fleet.reference import viewed
from kaiju_sim.scenario.loader import load_scenario
from kaiju_sim.simulation import build_plant
from kaiju_sim.workload.laws import mean_of

PUBLISHED = ROOT / "scenarios" / "published.yaml"
ANSWER_S, TOKEN_S = 0.2, 0.03
"""How long an answer is taken to be under way: so long, and so long for each token. That is what it
takes near the capacity: a next turn hardly ever comes before the answer is there."""
DIALOGUES = 2000
"""Under way at any time. With their characters' definitions they keep 3,600 windows of local KV."""
LEAST_THINK_S = 1.0
SPARE = 1.3
"""So much more is drawn: the time of the messages is then rescaled, to have the rate exactly."""


class Drawing:
    """Advances a cell's users and serves nobody: notes what each sends, ends it as agreed."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.warm: list[Message] = []
        self._names = Names()
        self._seen: Cell | None = None

    def __call__(self, cell: Cell, until: int) -> int:
        """As the compiled `run_until`: epochs up to `until`; 0, or what has to grow first."""
        cell = self._seen = viewed(cell, self._seen)
        clock = cell.users.clock[0]
        while clock.now < until:
            now = int(clock.now)
            stop = min((now // cell.users.epoch_ns + 1) * cell.users.epoch_ns, until)
            short = prepare(cell, now, stop)
            if short:
                return short
            for i in range(int(clock.due)):
                self._send(cell, int(cell.users.due[i]))
            if clock.warming:
                end_warming(cell)
                continue
            answered(cell)
            clock.due = -1
            clock.now = stop
        return 0

    def _send(self, cell: Cell, s: int) -> None:
        q = arrive(cell, s)
        if cell.world.fates[q].failed:
            return
        v, session = cell.world.engine.requests[q], cell.users.sessions[s]
        out = int(cell.world.fates[q].out)
        if cell.users.clock[0].warming:
            out = 1
        message = Message(
            int(v.arrival), int(v.prompt), out, int(session.id), int(session.turn),
            self._path(cell, q),
        )  # fmt: skip
        if cell.users.clock[0].warming:
            self.warm.append(message)
            give_request(cell, q)
            return
        self.messages.append(message)
        took = int((ANSWER_S + TOKEN_S * out) * 1e9)
        hand_over(cell.world, q, message.arrival_ns + took, 0)

    def _path(self, cell: Cell, q: int) -> tuple[Piece, ...]:
        e = cell.world.engine
        lo = q * e.limits.stride
        pieces = (e.segments[s] for s in range(lo, lo + e.limits.stride))
        return tuple(Piece(self._names.of(int(piece.stream)), int(piece.n)) for piece in pieces)


def dialogues(rate: float, seconds: float, seed: int, recipe: dict[str, Any]) -> Workload:
    """Messages of the published shape, `rate` x `seconds` of them in that time, on one engine; the
    dialogues that are under way at the beginning are warm."""
    loaded = load_scenario(PUBLISHED, sets=_sets(rate, seconds * SPARE + 1, seed))
    drawing = Drawing()
    CellRun(build_plant(loaded.scenario, loaded.base_dir), 0, drawing).run()
    drawn, count = sorted(drawing.messages), max(1, round(rate * seconds))
    assert len(drawn) > count, "the generator's rate is near the one that it was asked for"
    factor = seconds * 1e9 / drawn[count].arrival_ns
    messages = [m._replace(arrival_ns=int(m.arrival_ns * factor)) for m in drawn[:count]]
    return Workload(messages, drawing.warm, recipe)


def _sets(rate: float, seconds: float, seed: int) -> list[str]:
    """What of the published scenario is another one: its size, its times, and the model's page."""
    output = load_scenario(PUBLISHED).scenario.traffic.output_tokens
    cycle_s = DIALOGUES / rate
    think_s = max(LEAST_THINK_S, cycle_s - ANSWER_S - TOKEN_S * mean_of(output))
    return [
        f"seed={seed}", "fleet.replicas=1", "fleet.cells=1", "steptime.kind=roofline",
        f"traffic.messages_per_s={rate!r}", f"traffic.sessions.live={DIALOGUES}",
        f"traffic.turn_cycle={cycle_s!r}s", f"traffic.sessions.think.mean={think_s!r}s",
        "run.warm_up=0s", f"run.horizon={seconds!r}s", "run.drain=0s", "run.epoch=0.1s",
        "kv.block_tokens=128", "router.policy=round_robin",
    ]  # fmt: skip


def warped(workload: Workload, seconds: float, spike: tuple[float, float, float]) -> Workload:
    """The messages in other time: from spike[0] to spike[1] (seconds) they come spike[2] times as
    fast. `seconds`: how long it then is."""
    begin, end, times = spike
    new = np.array([0.0, begin, end, seconds])
    old = np.cumsum([0.0, begin, (end - begin) * times, seconds - end])
    at = np.interp(workload.arrivals_ns / 1e9, old, new) * 1e9
    moved = [m._replace(arrival_ns=int(t)) for m, t in zip(workload.messages, at, strict=True)]
    kept = [m for m in moved if m.arrival_ns < seconds * 1e9]
    return Workload(kept, workload.warm, workload.recipe)


def drawn_seconds(seconds: float, spike: tuple[float, float, float]) -> float:
    """How much of the generator's time `warped` needs."""
    begin, end, times = spike
    return seconds + (end - begin) * (times - 1)
