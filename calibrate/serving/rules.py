"""From a scenario, or from options, to the limits that policy obeys on one engine."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from calibrate.engine.served.guide import Guide, read_guide
from calibrate.engine.served.machine import check_fits
from calibrate.engine.served.seam import HostMemory, Rates
from calibrate.provenance import catalog_gpu
from kaiju_sim.catalog.gpus import find_gpu
from kaiju_sim.engine.layout import NEVER
from kaiju_sim.engine.limits import Limits
from kaiju_sim.errors import UserError
from kaiju_sim.fleet.setup.build import RETAIN, ns_or_never
from kaiju_sim.scenario.loader import load_scenario
from kaiju_sim.scenario.schema import Engine, KvCache, Objectives
from kaiju_sim.steptime.build import mean_curves
from kaiju_sim.steptime.convert import curves_from_profile
from kaiju_sim.steptime.curves import Curves
from kaiju_sim.steptime.memory import chunk_blocks
from kaiju_sim.steptime.profile import load_profile

POLICIES = ("decode_first", "prefill_first", "ttft_aware")
PRIORITIES = ("none", "paid_first", "deadline")
STRIDE = 8
"""Streams that a prompt's blocks may lie in: texts that part from one another so often."""
SHIFT = 7
"""log2 of a block's tokens: a page's."""
NO_CARD = Rates(10e9, 10e9)
"""Of a link where there is no card: what policy of the tiny model reckons with."""


@dataclass(frozen=True)
class Rules:
    """The parts of a scenario that one engine obeys."""

    engine: Engine = Engine()
    kv: KvCache = KvCache()
    slo: Objectives = Objectives()


def rules_of(scenario: Path | None, **options: Any) -> Rules:
    """A scenario's rules (the usual ones without a scenario), with those options that are not None:
    fields of its `engine` and `kv` parts. UserError for what cannot be served."""
    found = Rules()
    if scenario is not None:
        read = load_scenario(str(scenario)).scenario
        found = Rules(read.engine, read.kv, read.slo)
    given = {name: value for name, value in options.items() if value is not None}
    kv = {name: given.pop(name) for name in KvCache.model_fields if name in given}
    changed = Rules(_with(found.engine, given), _with(found.kv, kv), found.slo)
    _check(changed)
    return changed


def _with(part: Any, changes: dict[str, Any]) -> Any:
    """The part with other values, checked as a scenario is."""
    try:
        return type(part)(**(part.model_dump() | changes))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or ", ".join(changes)
        words = first.get("ctx", {}).get("error", first["msg"])
        raise UserError(f"{place}: {words}") from error


def _check(rules: Rules) -> None:
    predicts = rules.slo.ttft is not None or rules.slo.tpot is not None
    if rules.engine.policy == "ttft_aware" and not predicts:
        raise UserError(
            "engine.policy: ttft_aware needs a scenario (--rules) with slo.ttft or tpot"
        )


def guide_of(rules: Rules, file: Path | None) -> Guide | None:
    """How candidates are judged, if messages have several. UserError for what is wrong with the
    guide, or if there is none, or nobody for it to judge."""
    several = rules.engine.candidates > 1
    if several and file is None:
        raise UserError(
            f"engine.candidates: is {rules.engine.candidates}, but nobody judges them: give --guide"
        )
    if file is None:
        return None
    guide = read_guide(file)
    if not several:
        raise UserError("--guide: messages have one candidate: give --candidates or --rules")
    return guide


def host_of(rules: Rules, profile: str | None) -> HostMemory | None:
    """Host memory, if the rules have any; the link's rates are those that they state, or the
    catalog's of the profile's GPU, or of the card. UserError where the machine has not so much."""
    kv = rules.kv
    if kv.host_memory == 0:
        return None
    check_fits(kv.host_memory, "is")
    stated = None if kv.host_bandwidth == "catalog" else Rates(kv.host_bandwidth, kv.host_bandwidth)
    measured = None if profile is None else load_profile(profile).gpu

    def rates(card: str) -> Rates:
        if stated is not None:
            return stated
        if not card and measured is None:
            return NO_CARD
        gpu = find_gpu(measured or _in_catalog(card))
        return Rates(gpu.to_device_bytes_per_s, gpu.to_host_bytes_per_s)

    return HostMemory(kv.host_memory, rates)


def _in_catalog(card: str) -> str:
    try:
        return catalog_gpu(card)
    except UserError:
        raise UserError(
            f"kv.host_bandwidth: {card[:80]} is not in the catalog: give the link's rate (--rules)"
        ) from None


def limits_of(rules: Rules) -> Limits:
    """For an engine whose page, window and memory are still to be known."""
    engine, kv, slo = rules.engine, rules.kv, rules.slo
    priority = PRIORITIES.index(engine.priority)
    if engine.policy == "ttft_aware" and engine.priority == "none":
        priority = PRIORITIES.index("deadline")
    retain = RETAIN[kv.local_retention] if kv.prefix_cache else 0
    chunk = engine.chunk_tokens if engine.candidates > 1 else 1
    return Limits(
        replicas=1, seed=0, policy=POLICIES.index(engine.policy),
        token_budget=engine.token_budget, max_seqs=engine.max_seqs // engine.candidates,
        shift=SHIFT, window=0,
        windows=int(kv.local_retention != "all"), retain=retain,
        prefix_cache=int(kv.prefix_cache), cache_generated=int(kv.cache_generated), stride=STRIDE,
        ring=64, warm_ns=0, horizon_ns=NEVER, segments=1, segment_ns=0,
        ttft_ns=ns_or_never(slo.ttft), paid_ttft_ns=ns_or_never(slo.paid_ttft or slo.ttft),
        tpot_ns=ns_or_never(slo.tpot), e2e_ns=ns_or_never(slo.e2e), priority=priority,
        queue_limit=NEVER if engine.queue_limit is None else engine.queue_limit,
        shed_late=int(engine.shed == "late"), candidates=engine.candidates, chunk=chunk,
        extra=(engine.candidates - 1) * chunk_blocks(engine.chunk_tokens, 1 << SHIFT),
    )  # fmt: skip


def curves_of(rules: Rules, profile: str | None) -> Curves:
    """Step times that policy predicts with; UserError where it does and no profile is given."""
    engine = rules.engine
    if profile is not None:
        rows = engine.token_budget + engine.max_seqs
        return curves_from_profile(load_profile(profile), rows, engine.max_seqs)
    if engine.policy == "ttft_aware" or engine.shed == "late":
        raise UserError("these rules predict step times: give --profile, an id or a file")
    return mean_curves(1e7)
