"""KV memory of a replica: what weights and activations leave, divided into two pools.

Everything is counted on one rank. Under tensor parallelism weights are split, but a KV head is
replicated where there are fewer KV heads than ranks; with MQA every rank holds the KV of every
sequence, so a replica's capacity is that of one rank and does not grow with the number of ranks.

    KV memory = HBM x utilisation - reserved - weights - activations

The **global pool** holds blocks of the global layers' KV, for as long as the context lives. The
**local pool** holds windows: a window is the ring of local-layer KV of one sequence, one block more
than the attention window so that a block can fill while the oldest one is still seen. Where local
KV is kept everywhere (`kv.local_retention: all`) or there are no local layers, there is one pool,
and a block carries both layers' KV.
"""

from dataclasses import dataclass

from kaiju_sim.catalog.gpus import Gpu
from kaiju_sim.catalog.models import Model
from kaiju_sim.errors import UserError
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.steptime.profile import KvBlocks

LOGIT_BYTES = 4
LOGIT_COPIES = 2
MOST_HOST_BLOCKS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class KvPlan:
    """Memory of one replica; bytes are per rank, and each rank is alike."""

    global_blocks: int
    """Blocks of the global pool."""
    local_windows: int
    """Windows of the local pool; 0 where there is one pool only."""
    block_tokens: int
    """Tokens per block."""
    global_block_bytes: int
    """Bytes of a block: global layers, and local ones too where there is one pool only."""
    window_bytes: int
    """Bytes of a window; 0 where there is one pool only."""
    weight_bytes: int
    """Weights."""
    activation_bytes: int
    """Reserve for activations and logits."""
    kv_bytes: int
    """Memory left for KV by arithmetic (at least 0), whatever the pools were set to."""
    source: str
    """Where the pool sizes come from: memory, profile, or scenario (set explicitly)."""
    host_blocks: int = 0
    """Blocks of host memory."""
    host_windows: int = 0
    """Windows of host memory."""


def kv_plan(scenario: Scenario, gpu: Gpu, model: Model, measured: KvBlocks | None = None) -> KvPlan:
    """The KV pools of a replica.

    Pool sizes are what the scenario sets (`kv.global_blocks`, `kv.local_windows`, either or both),
    else what the *measured* engine had if its pools and memory settings were the scenario's, else
    memory arithmetic.
    UserError when weights do not fit, or the pools cannot hold one sequence of
    `engine.max_context`.
    """
    parts = _Parts.of(scenario, gpu, model)
    if parts.window == 0 and scenario.kv.local_windows != "auto":
        raise UserError(
            "kv.local_windows: there is no window pool when local KV is kept everywhere"
        )
    blocks, windows, source = _pool_sizes(scenario, parts, measured)
    plan = KvPlan(
        global_blocks=blocks,
        local_windows=windows,
        block_tokens=scenario.kv.block_tokens,
        global_block_bytes=parts.block,
        window_bytes=parts.window,
        weight_bytes=parts.weights,
        activation_bytes=parts.activations,
        kv_bytes=max(parts.left, 0),
        source=source,
        **_host_sizes(scenario, parts, blocks, windows),
    )
    _check_holds_one(scenario, gpu, model, plan)
    return plan


def activation_bytes(scenario: Scenario, model: Model) -> int:
    """Activations of the largest step, on each rank, unless the scenario sets the reserve.

    Live at once in the FFN, per token row: the residual and the sub-layer's output (a bytes per
    element, a = 2 in bf16) and its quantised input (w bytes, as a weight) of width d; the middle,
    and its quantised copy, of width f / ranks (gated: two middles):

        row = (2 a + w) d + (a (m - 1) + w) f / ranks,  m matrices

    times token_budget + max_seqs rows; and for each of max_seqs sequences fp32 logits and
    probabilities over the vocabulary (8 V). Attention needs less and reuses the same memory.
    """
    if scenario.kv.activation_reserve != "auto":
        return int(scenario.kv.activation_reserve)
    engine, ranks = scenario.engine, scenario.fleet.tensor_parallel
    wide, narrow = model.activation_bytes, model.weight_bytes
    middle = (wide * (model.ffn_matrices - 1) + narrow) * -(-model.ffn // ranks)
    row = (2 * wide + narrow) * model.hidden + middle
    logits = LOGIT_COPIES * LOGIT_BYTES * model.vocab
    return (engine.token_budget + engine.max_seqs) * row + engine.max_seqs * logits


def candidate_blocks(scenario: Scenario) -> int:
    """Blocks that a message's candidates but the first hold besides its own.

    Candidates share the prompt and the chunks chosen so far, and differ in the chunk in hand, whose
    first block is copied where it is shared in part.
    """
    engine = scenario.engine
    return (engine.candidates - 1) * chunk_blocks(engine.chunk_tokens, scenario.kv.block_tokens)


def chunk_blocks(tokens: int, block: int) -> int:
    """The most blocks of `block` tokens that a chunk of so many can touch."""
    return (tokens + block - 2) // block + 1


def host_sizes(
    size: int, blocks: int, windows: int, block_bytes: int, window_bytes: int
) -> tuple[int, int]:
    """Blocks and windows of `size` bytes of host memory, in the proportion of those in HBM."""
    pools = max(1, blocks * block_bytes + windows * window_bytes)
    return blocks * size // pools, windows * size // pools


def one_pool(scenario: Scenario, model: Model) -> bool:
    """Whether local KV shares the global pool: kept everywhere, or no local layers at all."""
    return scenario.kv.local_retention == "all" or model.window is None


@dataclass(frozen=True, slots=True)
class _Parts:
    """Sizes in bytes on each rank, before memory is divided."""

    block: int
    window: int
    weights: int
    activations: int
    left: int

    @classmethod
    def of(cls, scenario: Scenario, gpu: Gpu, model: Model) -> "_Parts":
        ranks, tokens = scenario.fleet.tensor_parallel, scenario.kv.block_tokens
        whole, local = model.global_kv_token_bytes(ranks), model.local_kv_token_bytes(ranks)
        weights = model.rank_weight_bytes(ranks)
        activations = activation_bytes(scenario, model)
        usable = int(gpu.hbm_bytes * scenario.kv.memory_utilisation) - gpu.reserved_bytes
        left = usable - weights - activations
        if one_pool(scenario, model):
            return cls(tokens * (whole + local), 0, weights, activations, left)
        assert model.window is not None
        ring = -(-model.window // tokens) + 1
        return cls(tokens * whole, ring * tokens * local, weights, activations, left)


def _pool_sizes(
    scenario: Scenario, parts: _Parts, measured: KvBlocks | None
) -> tuple[int, int, str]:
    kv = scenario.kv
    if measured is not None and _as_measured(scenario, measured, parts):
        tokens = measured.global_blocks * measured.block_tokens
        blocks, windows, source = tokens // kv.block_tokens, measured.local_windows, "profile"
    else:
        blocks, windows, source = *_divide(scenario, parts), "memory"
    if kv.global_blocks != "auto" or kv.local_windows != "auto":
        source = "scenario"
    blocks = blocks if kv.global_blocks == "auto" else kv.global_blocks
    windows = windows if kv.local_windows == "auto" else kv.local_windows
    return blocks, windows, source


def _host_sizes(scenario: Scenario, parts: _Parts, blocks: int, windows: int) -> dict[str, int]:
    """Each rank has its share of host memory, for its part of the KV."""
    share = scenario.kv.host_memory // scenario.fleet.tensor_parallel
    sizes = host_sizes(share, blocks, windows, parts.block, parts.window)
    if max(sizes) > MOST_HOST_BLOCKS:
        raise UserError(f"kv.host_memory ({_gb(scenario.kv.host_memory)}) is too large")
    return dict(zip(("host_blocks", "host_windows"), sizes, strict=True))


def _as_measured(scenario: Scenario, measured: KvBlocks, parts: _Parts) -> bool:
    """Whether the scenario has the pools and memory settings of the engine that was measured.

    The length of a block may differ: the same tokens are then counted in other blocks.
    """
    kv, engine = scenario.kv, scenario.engine
    return (
        (measured.local_windows > 0) == (parts.window > 0)
        and kv.memory_utilisation == measured.memory_utilisation
        and kv.activation_reserve == "auto"
        and kv.local_share == "auto"
        and engine.token_budget == measured.token_budget
        and engine.max_seqs == measured.max_seqs
        and scenario.prompt.limit == measured.prompt_limit
    )


def _divide(scenario: Scenario, parts: _Parts) -> tuple[int, int]:
    left = max(parts.left, 0)
    if parts.window == 0:
        return left // parts.block, 0
    for_windows = int(left * _local_share(scenario, parts))
    windows = for_windows // parts.window
    return (left - for_windows) // parts.block, windows


def _local_share(scenario: Scenario, parts: _Parts) -> float:
    if scenario.kv.local_share != "auto":
        return scenario.kv.local_share
    blocks = -(-scenario.prompt.limit // scenario.kv.block_tokens)
    return parts.window / (parts.window + blocks * parts.block)


def _check_holds_one(scenario: Scenario, gpu: Gpu, model: Model, plan: KvPlan) -> None:
    context = scenario.engine.max_context
    needed = -(-context // plan.block_tokens) + candidate_blocks(scenario)
    no_window = plan.window_bytes > 0 and plan.local_windows < 1
    if plan.global_blocks >= needed and not no_window:
        return
    if plan.kv_bytes == 0 and plan.source == "memory":
        raise UserError(_does_not_fit(scenario, gpu, model, plan))
    holds = plan.global_blocks * plan.block_tokens
    raise UserError(
        f"KV memory of a replica cannot hold one sequence of engine.max_context = {context} tokens:"
        f" it holds {holds} tokens in {plan.global_blocks} blocks and {plan.local_windows} windows"
        f" ({_gb(plan.kv_bytes)}); raise fleet.tensor_parallel or kv.memory_utilisation,"
        " choose another gpu, change kv.local_share, or lower engine.max_context"
    )


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def _does_not_fit(scenario: Scenario, gpu: Gpu, model: Model, plan: KvPlan) -> str:
    usable = int(gpu.hbm_bytes * scenario.kv.memory_utilisation)
    return (
        f"{model.name} does not fit {scenario.fleet.tensor_parallel} x {gpu.name}: weights"
        f" {_gb(plan.weight_bytes)}, activations {_gb(plan.activation_bytes)} and"
        f" {_gb(gpu.reserved_bytes)} reserved of {_gb(usable)} usable per GPU"
        " leave nothing for KV; raise fleet.tensor_parallel or kv.memory_utilisation, or choose a"
        " larger gpu"
    )
