"""Fixed numbers of a cell's replicas, which policy may see."""

from typing import NamedTuple


class Limits(NamedTuple):
    """Fixed numbers of a cell's replicas."""

    replicas: int
    seed: int
    policy: int
    token_budget: int
    max_seqs: int
    """Messages in a batch at most: sequences over candidates."""
    shift: int
    """log2 of the tokens of a KV block."""
    window: int
    """Attention window of the local layers in tokens (0: no local layers)."""
    windows: int
    """Windows of the local pool (0: local KV lives and dies with the global blocks)."""
    retain: int
    """Keep windows nowhere (0), at definition ends (1), turn ends too (2), prompt ends too (3)."""
    prefix_cache: int
    cache_generated: int
    stride: int
    """Path segments per request slot."""
    ring: int
    """Buckets of the ring of coming events (a power of two)."""
    warm_ns: int
    """The measured cohort arrives in [warm_ns, horizon_ns)."""
    horizon_ns: int
    segments: int
    """Parts of that time which are tallied apart, so that a later start of it can be chosen."""
    segment_ns: int
    """Length of each (the last may be shorter); 0: there is one."""
    ttft_ns: int
    """Objectives (NEVER: none); time to first token by tier."""
    paid_ttft_ns: int
    tpot_ns: int
    e2e_ns: int
    priority: int
    """Who is admitted first: by arrival (0), the paid tier (1), by deadline (2)."""
    queue_limit: int
    """Messages that may wait at one place (NEVER: any number)."""
    shed_late: int
    candidates: int
    """Sequences that a message decodes as; with several, of each chunk the best is delivered."""
    chunk: int
    """Tokens that are delivered at once: 1, with candidates those of a chunk."""
    extra: int
    """Blocks that a message's other candidates hold."""
    """Turn away who would be late, at the moment of admission."""
    timeout_ns: int = 0
    """How long users wait for a first token (0: for ever)."""
    epoch_ns: int = 1
    link_replicas: int = 1
    """Replicas that share one link to host memory."""
    load_ns: float = 0.0
    """Time on the link of one block into HBM; likewise of a window, and out of HBM."""
    window_load_ns: float = 0.0
    store_ns: float = 0.0
    window_store_ns: float = 0.0
    gated: int = 0
    """Whether messages pass a safety gate, so that `World.passes` says when each is routed."""
