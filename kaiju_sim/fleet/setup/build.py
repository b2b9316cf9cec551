"""From a scenario to the arrays of its cells."""

import math
from dataclasses import dataclass

import numpy as np

from kaiju_sim.catalog.gpus import Gpu
from kaiju_sim.catalog.models import Model
from kaiju_sim.engine.layout import NEVER, Arr
from kaiju_sim.engine.limits import Limits
from kaiju_sim.engine.make import make_engine, make_world, power_of_two
from kaiju_sim.engine.policy import routing
from kaiju_sim.engine.policy.routing import ROUTER, Routing
from kaiju_sim.errors import UserError
from kaiju_sim.fleet.gate.build import make_gate
from kaiju_sim.fleet.messages.prompts import Prompts
from kaiju_sim.fleet.records import DESK, LOG, Cell
from kaiju_sim.fleet.setup.groups import Group, group_of, message_costs
from kaiju_sim.fleet.setup.people import make_habits, session_laws
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.steptime.build import StepTime, stacked
from kaiju_sim.steptime.memory import KvPlan, candidate_blocks
from kaiju_sim.workload.arrivals import rate_curve
from kaiju_sim.workload.characters import definition_tokens
from kaiju_sim.workload.laws import make_laws, mean_of
from kaiju_sim.workload.popularity import alias_table, zipf_shares
from kaiju_sim.workload.replay import Rows, no_rows
from kaiju_sim.workload.sessions import CLOCK, HELD, NO_MESSAGE, SESSION, Users, next_arrival
from kaiju_sim.workload.start import messages_per_dialogue, sessions_under_way

NS = 1_000_000_000
RETAIN = {"none": 0, "definition": 1, "turn_end": 2, "prompt_end": 3, "all": 0}
"""`Limits.retain` of each retention; with `all` there are no windows of their own."""
MOST_REPORTS = 10_000_000
MOST_SEGMENTS = 20
"""Places at which a detected warm-up may end: the horizon's twentieths."""
CLOSED_LOOP_STRIDE = 3
"""Path segments of a dialogue: head, persona, history; one more, for an answer that may go."""


@dataclass(frozen=True)
class Plant:
    """What the cells of a fleet are built from."""

    scenario: Scenario
    gpu: Gpu
    model: Model
    step_time: StepTime
    kv: KvPlan
    rows: Rows | None
    groups: tuple[Group, ...]
    """Kinds of replicas; GPU, step time and memory above are the first one's."""

    def group_of(self) -> Arr:
        """The group of each replica of a cell."""
        return group_of(self.scenario, self.groups)

    def global_blocks(self) -> Arr:
        """Global KV blocks of each replica of a cell."""
        return np.array([group.kv.global_blocks for group in self.groups])[self.group_of()]

    def local_windows(self) -> Arr:
        """Windows of each replica of a cell."""
        return np.array([group.kv.local_windows for group in self.groups])[self.group_of()]


def ns(seconds: float) -> int:
    """Whole nanoseconds."""
    return int(seconds * 1e9 + 0.5)


def ns_or_never(seconds: float | None) -> int:
    """Whole nanoseconds, or NEVER for none."""
    return NEVER if seconds is None else ns(seconds)


def priority_of(s: Scenario) -> int:
    """`Limits.priority`: the TTFT-aware policy admits by deadline unless told otherwise."""
    if s.engine.policy == "ttft_aware" and s.engine.priority == "none":
        return 2
    return ("none", "paid_first", "deadline").index(s.engine.priority)


def make_limits(plant: Plant, stride: int) -> Limits:
    """Fixed numbers of a cell's replicas."""
    s = plant.scenario
    kv = plant.kv
    window = plant.model.window or 0
    segments, segment_ns = cohort_segments(s)
    load, store = link_rates(plant)
    longest = mean_of(s.traffic.output_tokens) if s.traffic.kind != "replay" else 512
    return Limits(
        replicas=s.fleet.most_replicas // s.fleet.cells,
        seed=s.seed,
        policy=("decode_first", "prefill_first", "ttft_aware").index(s.engine.policy),
        token_budget=s.engine.token_budget,
        max_seqs=s.engine.max_seqs // s.engine.candidates,
        shift=s.kv.block_tokens.bit_length() - 1,
        window=window,
        windows=max(group.kv.local_windows for group in plant.groups),
        retain=RETAIN[s.kv.local_retention] if s.kv.prefix_cache else 0,
        prefix_cache=int(s.kv.prefix_cache),
        cache_generated=int(s.kv.cache_generated and s.traffic.kind != "replay"),
        stride=stride,
        ring=min(1024, max(64, power_of_two(math.ceil(longest * 1.5)))),
        warm_ns=ns(s.run.measured_from),
        horizon_ns=ns(s.run.horizon),
        segments=segments,
        segment_ns=segment_ns,
        ttft_ns=ns_or_never(s.slo.ttft),
        paid_ttft_ns=ns_or_never(s.slo.paid_ttft or s.slo.ttft),
        tpot_ns=ns_or_never(s.slo.tpot),
        e2e_ns=ns_or_never(s.slo.e2e),
        priority=priority_of(s),
        queue_limit=NEVER if s.engine.queue_limit is None else s.engine.queue_limit,
        shed_late=int(s.engine.shed == "late"),
        timeout_ns=ns(s.traffic.client.timeout or 0.0),
        epoch_ns=ns(s.run.epoch),
        link_replicas=s.kv.link_replicas if kv.host_blocks + kv.host_windows > 0 else 1,
        load_ns=kv.global_block_bytes / load * NS,
        window_load_ns=kv.window_bytes / load * NS,
        store_ns=kv.global_block_bytes / store * NS,
        window_store_ns=kv.window_bytes / store * NS,
        candidates=s.engine.candidates,
        chunk=s.engine.chunk_tokens if s.engine.candidates > 1 else 1,
        extra=candidate_blocks(s),
        gated=int(s.safety.on),
    )


def link_rates(plant: Plant) -> tuple[float, float]:
    """Bytes/s of the link to host memory, into HBM and out of it."""
    stated = plant.scenario.kv.host_bandwidth
    if stated == "catalog":
        return plant.gpu.to_device_bytes_per_s, plant.gpu.to_host_bytes_per_s
    return stated, stated


def cohort_segments(s: Scenario) -> tuple[int, int]:
    """Number and length (ns, whole epochs) of the cohort's segments; one of length 0 is all.

    A warm-up that is to be detected ends at one of their edges.
    """
    if s.run.warm_up != "auto":
        return 1, 0
    epoch_ns, length_ns = ns(s.run.epoch), ns(s.run.horizon)
    segment_ns = -(-length_ns // (MOST_SEGMENTS * epoch_ns)) * epoch_ns
    return -(-length_ns // segment_ns), segment_ns


def make_users(plant: Plant, cell: int, versions: Arr) -> Users:
    """Traffic of one cell, with the dialogues that are under way at the start."""
    s = plant.scenario
    rows = plant.rows or no_rows()
    behaviour = s.traffic.sessions
    closed = s.traffic.kind == "sessions"
    if closed and mean_of(behaviour.turns) < 1.0:
        turns = mean_of(behaviour.turns)
        raise UserError(f"traffic.sessions.turns has a mean of {turns:g}: at least 1 is needed")
    laws = make_laws(session_laws(s))
    rate, bin_ns = rate_curve(s, messages_per_dialogue(s, laws))
    threshold, alias = alias_table(
        zipf_shares(s.characters.count, s.characters.zipf, s.characters.head_cap)
    )
    live = behaviour.live // s.fleet.cells if closed else 0
    capacity = live + live // 4 + 1024
    epoch_ns = ns(s.run.epoch)
    think = mean_of(behaviour.think) if closed else 1.0
    users = Users(
        seed=s.seed,
        cell=cell,
        cells=s.fleet.cells,
        epoch_ns=epoch_ns,
        horizon_ns=ns(s.run.horizon),
        replay=int(plant.rows is not None),
        laws=laws,
        habits=make_habits(s),
        sessions=np.zeros(capacity, SESSION),
        wheel=np.full(
            min(1 << 16, power_of_two(int(4 * think * NS / epoch_ns) + 64)), -1, np.int32
        ),
        due=np.zeros(capacity, np.int32),
        due_at=np.zeros(capacity, np.int64),
        clock=np.zeros(1, CLOCK),
        rate=rate / s.fleet.cells,
        bin_ns=bin_ns,
        gamma_shape=s.traffic.burstiness**-2.0,
        threshold=threshold,
        alias=alias,
        versions=versions,
        row_at=rows.arrival_ns,
        gated=int(s.safety.on),
        held=np.zeros(capacity if s.safety.on else 1, HELD),
    )
    users.held["message"] = NO_MESSAGE
    users.clock["due"] = -1
    users.sessions["next"] = np.arange(1, capacity + 1)
    users.sessions["next"][-1] = -1
    sessions_under_way(s, users, live)
    users.clock["next_new"] = next_arrival(
        users, 0, int(users.clock["started"][0]) * users.cells + cell
    )
    return users


def throws_away(s: Scenario) -> bool:
    """Whether answers of dialogues may be thrown away: rejected, or blocked after the model."""
    gate = s.safety.pre == "after" or s.safety.post.kind != "none"
    return s.traffic.kind != "replay" and (s.traffic.sessions.swipe_rate > 0 or gate)


def make_prompts(plant: Plant) -> Prompts:
    """What prompts are made of."""
    s = plant.scenario
    rows = plant.rows or no_rows()
    if s.traffic.kind != "replay" and s.prompt.limit >= s.engine.max_context:
        raise UserError(
            f"engine.max_context ({s.engine.max_context}) must exceed prompt.limit"
            f" ({s.prompt.limit}): there would be no room for an answer"
        )
    start_hour = s.traffic.diurnal.start_hour if s.traffic.diurnal else 0.0
    return Prompts(
        date_tokens=s.prompt.date_tokens,
        persona_tokens=s.prompt.persona_tokens,
        limit=s.prompt.limit,
        truncation_step=s.prompt.truncation_step,
        max_context=s.engine.max_context,
        pin_session=int(s.characters.pinning == "session"),
        asides=int(throws_away(s)),
        day_offset_ns=ns(start_hour * 3600),
        definition=definition_tokens(s),
        row_prompt=rows.prompt,
        row_output=rows.output,
        row_session=rows.session,
        row_character=rows.character,
        run_offsets=rows.run_offsets,
        run_stream=rows.run_stream,
        run_blocks=rows.run_blocks,
        row_shift=rows.shift,
    )


def make_routing(plant: Plant, report_epochs: int, delay_epochs: int) -> Routing:
    """The router of a cell, knowing nothing yet."""
    s = plant.scenario
    n = s.fleet.most_replicas // s.fleet.cells
    rows = delay_epochs // report_epochs + 2
    if rows * n > MOST_REPORTS:
        raise UserError(
            f"router.report_delay holds {rows:,} reports of {n:,} replicas under way: raise"
            " router.report_interval or run.epoch"
        )
    characters = s.characters.count if plant.rows is None else plant.rows.characters
    copies = min(s.router.max_copies, n // s.fleet.shard_replicas)
    state = np.zeros(1, ROUTER)
    state["active"] = state["span"] = s.fleet.replicas // s.fleet.cells
    affinity = s.router.policy == "affinity"
    return Routing(
        policy=routing.POLICIES.index(s.router.policy),
        seed=s.seed,
        bound=float(s.router.bound),
        min_load=s.router.min_load,
        max_copies=copies,
        shard_replicas=s.fleet.shard_replicas,
        by_session=int(s.router.rendezvous_key == "session"),
        load_tokens=float(s.router.load_tokens),
        state=state,
        seen=np.zeros(n, np.int64),
        sent=np.zeros(n, np.int64),
        reports=np.zeros((rows, n), np.int64),
        sent_then=np.zeros((rows, n), np.int64),
        table=np.zeros((copies, characters if affinity else 1), np.int32),
        copies=np.zeros(characters if affinity else 1, np.int32),
        moves=np.zeros((characters if affinity else 1, 2), np.int32),
        cost=message_costs(s, plant.groups)[plant.group_of()],
    )


def sample_below(s: Scenario, messages: float) -> int:
    """Sessions whose 32-bit hash is below this are logged: all, or a share of 1 / 2^n."""
    share = 1.0
    while messages * share > s.results.request_rows and share > 2.0**-32:
        share /= 2
    return int(share * 2**32) if s.results.request_rows > 0 else 0


def expected_messages(plant: Plant) -> float:
    """Messages that the scenario is about to send, for sizes only."""
    if plant.rows is not None:
        return float(plant.rows.arrival_ns.size)
    s = plant.scenario
    return (s.traffic.messages_per_s or 0.0) * s.run.horizon


def build_cell(plant: Plant, cell: int, versions: Arr) -> Cell:
    """One cell of the fleet at time 0."""
    s = plant.scenario
    stride = CLOSED_LOOP_STRIDE + throws_away(s)
    if plant.rows is not None:
        stride = plant.rows.most_runs + 1
    limits = make_limits(plant, stride)
    requests = limits.replicas * 64 + 1024
    users = make_users(plant, cell, versions)
    engine = make_engine(
        limits,
        stacked([group.step_time.curves for group in plant.groups]),
        plant.global_blocks(),
        windows=plant.local_windows(),
        requests=requests,
        nodes=power_of_two(16 * requests + 4 * users.sessions.size),
        central=s.router.queue == "central",
        host=(plant.kv.host_blocks, plant.kv.host_windows),
    )
    engine.replicas["group"] = plant.group_of()
    engine.replicas["active"][s.fleet.replicas // s.fleet.cells :] = 0
    report_epochs = max(1, math.ceil(s.router.report_interval / s.run.epoch - 1e-9))
    delay_epochs = math.ceil(s.router.report_delay / s.run.epoch - 1e-9)
    desk = np.zeros(1, DESK)
    desk["spare"] = requests
    desk["allowance"] = 100.0  # of a retry budget, full at the start
    return Cell(
        world=make_world(engine),
        users=users,
        prompts=make_prompts(plant),
        routing=make_routing(plant, report_epochs, delay_epochs),
        spare=np.arange(requests, dtype=np.int32)[::-1].copy(),
        log=np.zeros(max(65536, 4 * requests), LOG),
        desk=desk,
        sample=sample_below(s, expected_messages(plant)),
        report_epochs=report_epochs,
        delay_epochs=delay_epochs,
        paid_share=float(s.traffic.paid_share),
        gate=make_gate(s.safety, limits.segments),
    )
