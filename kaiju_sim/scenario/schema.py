"""The scenario: everything that a run depends on, strict and frozen.

The sentence under a field is its documentation, its description in `scenarios/schema.json` and its
text in docs/scenario.md. Quantities carry units in YAML ("500ms", "80GiB", "2.35 USD/h") and are
plain SI numbers here.
"""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from kaiju_sim.scenario.base import Part
from kaiju_sim.scenario.parts.alerts import Alerts
from kaiju_sim.scenario.parts.economics import Economics
from kaiju_sim.scenario.parts.evals import Evals
from kaiju_sim.scenario.parts.fleet import Fleet
from kaiju_sim.scenario.parts.incidents import Incident, check_incident
from kaiju_sim.scenario.parts.plan import Planning, RouterPolicy
from kaiju_sim.scenario.parts.safety import Safety
from kaiju_sim.scenario.quantities import (
    Bytes,
    BytesPerSecond,
    Fraction,
    NotBool,
    PositiveFraction,
    PositiveSeconds,
    Seconds,
    as_tuple,
)
from kaiju_sim.scenario.traffic import Characters, Prompt, Traffic

Auto = Literal["auto"]


class Run(Part):
    """What is simulated and which part of it is measured."""

    warm_up: Seconds | Auto = 600.0
    """Messages that arrive before this are simulated but not measured; `auto`: it ends where the
    run's own time series settles (docs/model.md), for traffic without `diurnal`."""
    horizon: PositiveSeconds = 4200.0
    """Arrivals stop here; the cohort is what arrives in [warm_up, horizon)."""
    drain: Seconds = 300.0
    """After the horizon, messages may finish for this long; the rest count as in flight."""
    epoch: PositiveSeconds = 0.1
    """Routing epoch: load reports are taken and arrivals routed once per epoch."""
    start: Literal["warm", "cold"] = "warm"
    """`warm`: dialogues under way at time 0 are cached, as far as caches hold them; `cold`: caches
    are empty."""

    @model_validator(mode="after")
    def _ordered(self) -> "Run":
        if self.measured_from >= self.horizon:
            raise ValueError("run.warm_up must be before run.horizon")
        if self.epoch > self.horizon:
            raise ValueError("run.epoch must not exceed run.horizon")
        return self

    @property
    def measured_from(self) -> float:
        """Where the warm-up ends; while `auto` has not been resolved, the earliest it may (0)."""
        return 0.0 if self.warm_up == "auto" else self.warm_up


class Router(Part):
    """Which replica a message goes to, and what the router knows."""

    policy: RouterPolicy = "affinity"
    """Routing policy; docs/model.md describes each."""
    queue: Literal["replica", "central"] = "replica"
    """`replica`: a message queues at its replica; `central`: one queue, replicas pull from it."""
    report_interval: PositiveSeconds = 0.1
    """Time between load reports from the replicas (rounded up to whole epochs)."""
    report_delay: Seconds = 0.0
    """Age of a report when the router first sees it (rounded up to whole epochs)."""
    bound: float = Field(default=1.25, ge=1)
    """Bounded load: a replica above this multiple of the mean load is passed over."""
    min_load: int = Field(default=8, ge=0)
    """Bounded load does not act below this many messages on a replica."""
    max_copies: int = Field(default=64, ge=1, le=256)
    """A hot character is replicated on at most this many shards."""
    rendezvous_key: Literal["character", "session"] = "character"
    """What rendezvous hashing hashes."""
    load_tokens: float = Field(default=1024.0, ge=0)
    """prefix_aware: one more message on a replica weighs as much as this many uncached tokens."""
    recovery: Literal["relearn", "stored", "rebuild"] = "relearn"
    """What follows the loss of the affinity table: `relearn`: characters are entered anew as their
    messages come; `stored`: the last snapshot is put back; `rebuild`: the table is read off what
    the replicas' caches hold."""
    recovery_delay: Seconds = 60.0
    """From the loss of the table until it is restored or rebuilt."""
    snapshot_interval: PositiveSeconds = 300.0
    """Time between snapshots of the table, for recovery `stored`."""


class Engine(Part):
    """Continuous batching with chunked prefill."""

    policy: Literal["decode_first", "prefill_first", "ttft_aware"] = "decode_first"
    """`decode_first`: decodes, then prefill chunks in what is left of the budget; `prefill_first`:
    a step with prefill work does only that; `ttft_aware`: decodes, then as much prefill, earliest
    deadline first, as keeps the predicted step within `slo.tpot` (docs/scheduling.md)."""
    priority: Literal["none", "paid_first", "deadline"] = "none"
    """Who is admitted first. `none`: first come, first served; `paid_first`: the paid tier;
    `deadline`: whose first token is due first (arrival + `slo.ttft` or `slo.paid_ttft`)."""
    token_budget: int = Field(default=2048, ge=1, le=65536)
    """Tokens (decode and prefill) per engine step at most."""
    max_seqs: int = Field(default=256, ge=1, le=8192)
    """Sequences in a batch at most."""
    queue_limit: int | None = Field(default=None, ge=1)
    """Messages that may wait at a replica, or in the central queue; more are shed at their arrival
    (for a paid one, with a priority, the last waiting one of the free tier). None: any number."""
    shed: Literal["none", "late"] = "none"
    """`late`: who is next to be admitted but, by the step-time model, cannot have the first token
    within `slo.ttft` any more, is shed."""
    candidates: int = Field(default=1, ge=1, le=64)
    """Sequences that a message decodes as. With several, they share the prompt, a classifier head
    scores them after every `chunk_tokens`, and the best chunk is delivered at once."""
    chunk_tokens: int = Field(default=16, ge=2, le=4096)
    """Tokens that each candidate adds before they are scored."""
    max_context: int = Field(default=8704, ge=2, le=4_000_000)
    """Prompt and answer together at most: longer prompts fail, longer answers are cut."""

    @model_validator(mode="after")
    def _budget(self) -> "Engine":
        if self.policy != "prefill_first" and self.token_budget < self.max_seqs:
            raise ValueError("engine.token_budget must be at least engine.max_seqs")
        if self.candidates > self.max_seqs:
            raise ValueError("engine.max_seqs must be at least engine.candidates")
        return self


class KvCache(Part):
    """KV memory of a replica: two pools, a paged prefix cache over them."""

    block_tokens: Annotated[Literal[1, 2, 4, 8, 16, 32, 64, 128, 256, 512], NotBool] = 64
    """Tokens per KV block."""
    prefix_cache: bool = True
    """Keep the KV of finished prompts for reuse."""
    cache_generated: bool = True
    """Keep generated tokens' KV too, for the next turn."""
    local_retention: Literal["turn_end", "prompt_end", "definition", "all", "none"] = "turn_end"
    """Where local-window KV is kept so that a prefix can be resumed there: at definition ends and
    turn ends; at prompts' ends too, for another answer to the same prompt; at definition ends only;
    everywhere; or nowhere."""
    memory_utilisation: PositiveFraction = 0.9
    """Share of HBM that the engine may use."""
    activation_reserve: Bytes | Auto = "auto"
    """HBM kept for activations; `auto` computes it from the token budget."""
    local_share: Fraction | Auto = "auto"
    """Share of KV memory for local windows; `auto`: as one sequence at prompt.limit needs."""
    global_blocks: Annotated[int, Field(ge=1, le=1_000_000_000)] | Auto = "auto"
    """Blocks of the global pool per replica; `auto`: by memory arithmetic."""
    local_windows: Annotated[int, Field(ge=1, le=100_000_000)] | Auto = "auto"
    """Windows of the local pool per replica; `auto`: by memory arithmetic."""
    host_memory: Bytes = 0
    """Host memory per replica for KV that is evicted from HBM (0: it is dropped). Its ranks share
    it, and it is divided between blocks and windows as HBM is."""
    host_bandwidth: BytesPerSecond | Literal["catalog"] = "catalog"
    """Rate of the link between host memory and one GPU, in each direction; `catalog`: measured
    copies of the GPU's entry."""
    link_replicas: int = Field(default=1, ge=1, le=64)
    """Replicas that share one such link."""


class StepTime(Part):
    """How long an engine step takes."""

    kind: Literal["auto", "profile", "roofline", "constant", "exponential"] = "auto"
    """`auto`: the measured profile that is shipped for the GPU, model and ranks, else `roofline`;
    `profile`: a calibration profile; `roofline`: analytic; the other two are for theory."""
    profile: str | None = None
    """Profile id or file, for kinds `profile` and `auto`."""
    step: PositiveSeconds | None = None
    """Step time (mean), for kinds `constant` and `exponential`."""
    compute_efficiency: PositiveFraction = 0.66
    """Roofline: share of the peak operations/s that matrix work reaches. Kind `auto` with another
    value of this, or of the next two, is `roofline`."""
    memory_efficiency: PositiveFraction = 0.8
    """Roofline: share of the peak memory bandwidth that is reached."""
    host_overhead: Seconds = 0.001
    """Roofline: host time per step that the GPU waits for."""

    @model_validator(mode="after")
    def _complete(self) -> "StepTime":
        if self.kind == "profile" and self.profile is None:
            raise ValueError("steptime.kind is profile: give steptime.profile")
        if self.kind in ("constant", "exponential") and self.step is None:
            raise ValueError(f"steptime.kind is {self.kind}: give steptime.step")
        return self


class Objectives(Part):
    """Service objectives; goodput counts messages that meet all that are stated."""

    ttft: PositiveSeconds | None = None
    """Time to first token of a message at most."""
    paid_ttft: PositiveSeconds | None = None
    """The same for the paid tier (none: `slo.ttft` holds for both)."""
    tpot: PositiveSeconds | None = None
    """Mean time per output token after the first at most."""
    e2e: PositiveSeconds | None = None
    """Time to the last token at most."""
    alerts: Alerts | None = None
    """Burn-rate alerts on one of the service levels (docs/evals.md); none: no alerts."""


class Results(Part):
    """What is written."""

    request_rows: int = Field(default=500_000, ge=0, le=50_000_000)
    """Rows of requests.parquet at most, all replications together; above it, a deterministic sample
    of dialogues."""
    tick: PositiveSeconds = 10.0
    """Interval of the time series in replicas.parquet."""


class Scenario(Part):
    """A complete scenario."""

    schema_version: Annotated[Literal[1], NotBool]
    """Version of this format."""
    name: str = Field(min_length=1, max_length=100)
    """Short name."""
    description: str = ""
    """What the scenario is about."""
    seed: int = Field(default=1, ge=0, lt=2**31)
    """Seed of every random stream."""
    model: str = "kaiju-13b"
    """Model, by catalog name."""
    gpu: str = "H100-80GB"
    """GPU, by catalog name."""
    run: Run = Run()
    """Times."""
    traffic: Traffic
    """Arrivals."""
    characters: Characters = Characters()
    """Character store."""
    prompt: Prompt = Prompt()
    """Prompt assembly."""
    fleet: Fleet = Fleet()
    """Replicas."""
    router: Router = Router()
    """Routing."""
    engine: Engine = Engine()
    """Batching."""
    kv: KvCache = KvCache()
    """KV memory."""
    steptime: StepTime = StepTime()
    """Step time."""
    slo: Objectives = Objectives()
    """Objectives."""
    safety: Safety = Safety()
    """Safety gate."""
    economics: Economics = Economics()
    """Money."""
    evals: Evals = Evals()
    """Eval gates."""
    plan: Planning = Planning()
    """Choices of a plan."""
    results: Results = Results()
    """Output."""
    incidents: Annotated[tuple[Incident, ...], BeforeValidator(as_tuple)] = ()
    """What goes wrong (docs/incidents.md)."""
    sweep: dict[str, list[Any]] = {}
    """Values to sweep over, as data for `sweep`."""

    @model_validator(mode="after")
    def _objectives(self) -> "Scenario":
        if self.engine.shed == "late" and self.slo.ttft is None:
            raise ValueError("engine.shed is late: give slo.ttft")
        if self.engine.policy == "ttft_aware" and self.slo.ttft is None and self.slo.tpot is None:
            raise ValueError("engine.policy is ttft_aware: give slo.ttft or slo.tpot")
        return self

    @model_validator(mode="after")
    def _routed(self) -> "Scenario":
        fleet, router = self.fleet, self.router
        scale = () if fleet.autoscale is None else (fleet.autoscale,)
        if any(part.warm == "shadow" for part in (*fleet.changes, *scale)) and (
            router.policy not in ("affinity", "rendezvous") or router.queue == "central"
        ):
            raise ValueError(
                "warm: shadow needs router.policy affinity or rendezvous and router.queue replica:"
                " only then is it known who will move to a new shard"
            )
        if any(change.action == "lose_table" for change in fleet.changes):
            if router.policy != "affinity":
                raise ValueError("lose_table: only router.policy affinity has a table")
            if router.recovery == "rebuild" and self.traffic.kind == "replay":
                raise ValueError("router.recovery: a trace does not say what caches hold of whom")
        return self

    @model_validator(mode="after")
    def _looked_at(self) -> "Scenario":
        """`prefix_aware` sees caches as they are where an epoch begins. To look at a fleet cuts the
        epoch in hand, so nobody may look inside one: what is measured would change the run."""
        looks = {"results.tick": self.results.tick, "run.warm_up": self.run.measured_from}
        for name, seconds in looks.items():
            if self.router.policy == "prefix_aware" and not whole(seconds, self.run.epoch):
                raise ValueError(
                    f"{name} must be a whole number of epochs (run.epoch, {self.run.epoch:g} s)"
                    " with router.policy prefix_aware"
                )
        return self

    @model_validator(mode="after")
    def _struck(self) -> "Scenario":
        for incident in self.incidents:
            check_incident(self, incident)
        names = [incident.name for incident in self.incidents]
        if len(set(names)) < len(names):
            raise ValueError("incidents: give each a name of its own")
        return self

    @model_validator(mode="after")
    def _links(self) -> "Scenario":
        if self.fleet.most_replicas // self.fleet.cells % self.kv.link_replicas:
            raise ValueError("kv.link_replicas must divide the replicas of a cell")
        return self


def whole(seconds: float, epoch_s: float) -> bool:
    """Whether a time is a whole number of epochs, in nanoseconds as the simulation has them."""
    return round(seconds * 1e9) % max(1, round(epoch_s * 1e9)) == 0
