"""The rules of the engine that is compared: those of the published scenario."""

from calibrate.fidelity.workloads.sessions import PUBLISHED
from kaiju_sim.catalog.models import find_model
from kaiju_sim.engine.layout import NEVER
from kaiju_sim.engine.limits import Limits
from kaiju_sim.scenario.loader import load_scenario

BLOCK_TOKENS = 128
"""The kernels' page."""
LONGEST = 32_768
"""Tokens of a sequence that the kernels take."""


def limits_of(model: str, pieces: int, *, one_pool: bool, is_trace: bool) -> Limits:
    """What the engine is asked for; how many windows it gets is its memory's business.

    `one_pool`: local KV is kept with each global block, as in the simulator's replays of traces
    with block ids, which do not say where a turn ends; else windows are kept at turns' ends.
    `is_trace`: it is not known what names the answers' blocks have.
    """
    engine = load_scenario(PUBLISHED).scenario.engine
    return Limits(
        replicas=1, seed=0,
        policy=("decode_first", "prefill_first", "ttft_aware").index(engine.policy),
        token_budget=engine.token_budget, max_seqs=engine.max_seqs,
        shift=BLOCK_TOKENS.bit_length() - 1, window=find_model(model).window or 0,
        windows=0 if one_pool else 1, retain=0 if one_pool else 2, prefix_cache=1,
        cache_generated=int(not is_trace), stride=pieces, ring=64, warm_ns=0, horizon_ns=NEVER,
        segments=1, segment_ns=0, ttft_ns=NEVER, paid_ttft_ns=NEVER, tpot_ns=NEVER, e2e_ns=NEVER,
        priority=0, queue_limit=NEVER, shed_late=0, candidates=1, chunk=1, extra=0,
    )  # fmt: skip


def published_context() -> int:
    """Tokens of prompt and answer at most, in the published scenario."""
    return load_scenario(PUBLISHED).scenario.engine.max_context
