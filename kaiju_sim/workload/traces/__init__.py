"""Request traces: read them (Mooncake, RAGPulse, Azure, ServeGen, plain), say what is in them.

`read_trace` gives a `Trace`, columns of numbers; `analyse` its figures; `prefix_paths` its block
ids as runs, which is what a replay feeds the simulated caches. See docs/traces.md.
"""

from kaiju_sim.workload.traces.analysis import analyse
from kaiju_sim.workload.traces.formats import (
    BLOCK_TOKENS,
    ENDINGS,
    FORMATS,
    NAMES,
    Format,
    read_trace,
)
from kaiju_sim.workload.traces.model import Limits, Stretch, Trace
from kaiju_sim.workload.traces.paths import PrefixPaths, kv_blocks, prefix_paths
from kaiju_sim.workload.traces.reuse import POLICIES, Fleet, parse_fleet
from kaiju_sim.workload.traces.servegen import fit_figures, is_servegen, read_fits

__all__ = [
    "BLOCK_TOKENS",
    "ENDINGS",
    "FORMATS",
    "NAMES",
    "POLICIES",
    "Fleet",
    "Format",
    "Limits",
    "PrefixPaths",
    "Stretch",
    "Trace",
    "analyse",
    "fit_figures",
    "is_servegen",
    "kv_blocks",
    "parse_fleet",
    "prefix_paths",
    "read_fits",
    "read_trace",
]
