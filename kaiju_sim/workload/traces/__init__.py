"""Request traces: read them (Mooncake, Azure, plain CSV, JSONL and Parquet), say what is in them.

`read_trace` gives a `Trace`, columns of numbers; `analyse` its figures; `prefix_paths` its block
ids as runs, which is what a replay feeds the simulated caches. See docs/traces.md.
"""

from kaiju_sim.workload.traces.analysis import analyse
from kaiju_sim.workload.traces.formats import BLOCK_TOKENS, ENDINGS, FORMATS, Format, read_trace
from kaiju_sim.workload.traces.model import Limits, Trace
from kaiju_sim.workload.traces.paths import PrefixPaths, kv_blocks, prefix_paths
from kaiju_sim.workload.traces.reuse import POLICIES, Fleet, parse_fleet

__all__ = [
    "BLOCK_TOKENS",
    "ENDINGS",
    "FORMATS",
    "POLICIES",
    "Fleet",
    "Format",
    "Limits",
    "PrefixPaths",
    "Trace",
    "analyse",
    "kv_blocks",
    "parse_fleet",
    "prefix_paths",
    "read_trace",
]
