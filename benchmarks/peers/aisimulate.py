"""AISimulate (NVIDIA, Apache-2.0) on W1 and W2: its configuration, one run, what it reports.

Its pinned dependencies (JAX, Flax, Vizier) want an environment of their own. Its built-in engine
routes round robin only, so ours does too. Blocks of 64 tokens are its default for vLLM, and ours.
"""

import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.loads.day import watched

INSTALL = "python -m venv ais && ais/bin/pip install --pre --only-binary :all: aisimulate"
COMMAND = "aisimulate"
ENGINE = {
    "mode": "aggregated",
    "model": "meta-llama/Meta-Llama-3.1-8B",
    "hardware": "h100_sxm",
    "backend": "vllm",
}
UNITS = {"w1": 32_000, "w1_16_per_s": 32_000, "w2": 3_000}
"""Messages, or dialogues of six turns."""


def traffic(name: str, units: int) -> dict[str, Any]:
    """The workload: the same figures as in benchmarks/loads/w1.yaml and w2.yaml."""
    if name == "w2":
        session = {
            "turns": 6,
            "shared_prefix_ratio": 0.3,
            "prefix_groups": 8,
            "inter_turn_delay_ms": 10_000,
        }
        source = {
            "type": "synthetic-session",
            "new_input_tokens_per_turn": 512,
            "output_tokens_per_turn": 256,
            "session": session,
        }
        load = {"type": "poisson", "sessions_per_second": 20, "seed": 1}
        return {"source": source, "load": load, "stop": {"sessions": units}}
    rate = 256 if name == "w1_16_per_s" else 128
    source = {"type": "synthetic", "input_tokens": 512, "output_tokens": 256}
    load = {"type": "poisson", "requests_per_second": rate, "seed": 1}
    return {"source": source, "load": load, "stop": {"requests": units}}


def configuration(name: str, units: int) -> dict[str, Any]:
    """Its prediction.yaml, of which JSON is a part."""
    worker = {
        "parallelism": {"replicas": 16},
        "scheduler": {"max_batched_tokens": 512, "max_sequences": 128},
        "kv_cache": {"prefix_caching": name == "w2"},
    }
    return {
        "traffic": traffic(name, units),
        "engine": ENGINE | {"workers": {"aggregated": worker}},
    }


@dataclass(frozen=True)
class AiSimulate:
    """An installed AISimulate."""

    program: str
    version: str

    @classmethod
    def find(cls, program: str | None) -> "AiSimulate | None":
        """The one at this path, or on PATH; None where there is none."""
        path = shutil.which(program or COMMAND)
        return None if path is None else cls(path, version_of(path))

    def run(self, name: str, units: int) -> dict[str, Any]:
        """One run: its own clock of the event loop, the whole process, latencies, totals."""
        with tempfile.TemporaryDirectory() as folder:
            config = Path(folder) / "prediction.yaml"
            config.write_text(json.dumps(configuration(name, units)), encoding="utf-8")
            words = [self.program, "predict", "--config", str(config), "--format", "json"]
            words += ["--output-dir", str(Path(folder) / "out")]
            process_s, peaks = watched(words)
            text = (Path(folder) / "out" / "prediction.json").read_text(encoding="utf-8")
        return figures(json.loads(text), process_s, sum(peaks.values()))


def version_of(program: str) -> str:
    """Version of the distribution beside the program."""
    python = Path(program).with_name("python")
    code = "from importlib.metadata import version; print(version('aisimulate'))"
    if not python.exists():
        return "unknown"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def figures(report: dict[str, Any], process_s: float, peak_rss_bytes: int) -> dict[str, Any]:
    """What its report says, under our names."""
    s = report.get("summary", report)
    wall_s = s["wall_time_ms"] / 1e3
    return {
        "requests_per_s_per_core": s["completed_requests"] / wall_s,
        "requests": s["completed_requests"],
        "wall_s": wall_s,
        "process_s": process_s,
        "peak_rss_bytes": peak_rss_bytes or None,
        "tpot_s": s["mean_tpot_ms"] / 1e3,
        "ttft_s": s["mean_ttft_ms"] / 1e3,
        "ttft_p99_s": s["p99_ttft_ms"] / 1e3,
        "e2e_s": s["mean_e2e_latency_ms"] / 1e3,
        "prefix_hit_rate": s["prefix_cache_reused_ratio"],
        "prompt_tokens_mean": s["total_input_tokens"] / s["completed_requests"],
        "output_tokens_mean": s["total_output_tokens"] / s["completed_requests"],
        "decode_step_s": s["min_ttst_ms"] / 1e3,
    }
