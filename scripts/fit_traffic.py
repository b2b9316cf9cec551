"""Write scenarios/fits/*.yaml: traffic fitted to public traces, for scenarios to extend.

    python scripts/fit_traffic.py [FOLDER]

Reads the traces from ../shared/data, or from where KAIJU_SHARED says, and writes to FOLDER
(scenarios/fits by default). The same data gives the same bytes. A fit holds laws, not data: 101
quantiles, one per percentile, of each quantity that its source has, and leaves the rest to the
scenario that extends it.
"""

import csv
import hashlib
import io
import os
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from kaiju_sim.workload.traces import Trace, read_trace
from kaiju_sim.workload.traces.quantiles import quantile_law
from kaiju_sim.workload.traces.suggest import dialogues, diurnal

ROOT = Path(__file__).resolve().parent.parent
FITTED = "2026-11-22"
KNOTS = 101

MOONCAKE = "mooncake/conversation_trace.t0-2400s.jsonl.zst"
AZURE = "azure-llm-2023/AzureLLMInferenceTrace_conv.before-1855.csv.zst"
AZURE_HOURS = "azure-llm-2023/azure2024_conv_hourly.digitised.csv"
RAGPULSE = "ragpulse/0_trace.week1.jsonl.zst"
CHUTES_TURNS = "chutes/turn_id_histogram.csv"
CHUTES_SESSIONS = "chutes/sample_sessions.v32.csv"
SHAREGPT = "lengths/sharegpt_8k_filtered_stats_llama2_tokenizer.csv.zst"
CARDS = "lengths/roleplay_card_lengths.csv"

Data = NDArray[Any]
Laws = Mapping[str, tuple[Data, str]]
"""Dotted path in the scenario -> the data of its law, and their unit."""


@dataclass(frozen=True)
class Fit:
    """One file of scenarios/fits."""

    name: str
    files: Sequence[str]
    about: str
    """Source, licence and attribution, and what to know before using the fit."""
    laws: Callable[[Path], Laws]
    values: Callable[[Path], Mapping[str, Any]] = field(default=lambda data: {})
    """Values that are not laws, by dotted path."""


def shared_data() -> Path:
    """The folder of public traces."""
    shared = Path(os.environ.get("KAIJU_SHARED", ROOT.parent / "shared"))
    return shared / "data" if (shared / "data").is_dir() else shared


def table(path: Path) -> dict[str, list[str]]:
    """The columns of a CSV file."""
    raw = path.read_bytes()
    if path.suffix == ".zst":
        raw = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(raw)).read()
    rows = list(csv.DictReader(io.StringIO(raw.decode("utf-8-sig"))))
    return {name: [row[name] for row in rows] for name in rows[0]}


def azure(data: Path) -> Laws:
    """One message each: what came in is all new."""
    trace = read_trace(data / AZURE)
    return {
        "traffic.sessions.user_tokens": (trace.prompt_tokens, ""),
        "traffic.output_tokens": (trace.output_tokens, ""),
    }


def azure_values(data: Path) -> Mapping[str, Any]:
    """Rate of the hour, and the shape of a day as the mean of seven (UTC)."""
    rate = [float(value) for value in table(data / AZURE_HOURS)["req_per_min_digitised"]]
    hours = np.array(rate).reshape(-1, 24).mean(axis=0)
    shape = [float(f"{value:.4g}") for value in hours / hours.mean()]
    return {
        "traffic.kind": "poisson",
        "traffic.messages_per_s": rate_of(read_trace(data / AZURE)),
        "overrides.day.traffic.diurnal.shape": shape,
    }


def rate_of(trace: Trace) -> float:
    """Requests per second, to four digits."""
    return float(f"{(trace.rows - 1) / trace.span_ns * 1e9:.4g}")


def recovered(trace: Trace) -> NDArray[np.int64]:
    """Dialogue of each row: that of the last row all of whose full blocks this one starts with.

    The first block (a system prompt that all rows share) says nothing and does not count.
    """
    last: dict[int, int] = {}
    dialogue: list[int] = []
    for row, blocks in enumerate(trace.row_blocks()):
        full = int(trace.prompt_tokens[row]) // trace.block_tokens
        known = (last[block] for block in reversed(blocks[1:full]) if block in last)
        dialogue.append(next(known, row))
        if full > 1:
            last[blocks[full - 1]] = dialogue[-1]
    return np.array(dialogue)


def mooncake(data: Path) -> Laws:
    """Dialogues recovered from shared prefixes."""
    trace = read_trace(data / MOONCAKE)
    return session_laws(trace, recovered(trace))


def session_laws(trace: Trace, session: NDArray[np.int64]) -> Laws:
    """Turns, pauses, growth, what a dialogue starts with, and answers."""
    first, gaps, growth, turns, _ = dialogues(trace, session)
    said = np.maximum(growth, 0).tolist()
    return {
        "traffic.sessions.turns": (turns, ""),
        "traffic.sessions.think": (gaps / 1e9, "s"),
        "traffic.sessions.user_tokens": (np.array(said), ""),
        "traffic.sessions.initial_history": (before(trace.prompt_tokens[first], said), ""),
        "traffic.output_tokens": (trace.output_tokens, ""),
    }


def ragpulse(data: Path) -> Laws:
    """Dialogues as the trace names them."""
    trace = read_trace(data / RAGPULSE)
    assert trace.session is not None
    return session_laws(trace, trace.session)


def ragpulse_values(data: Path) -> Mapping[str, Any]:
    """Rate and shape of the week."""
    trace = read_trace(data / RAGPULSE)
    shape = diurnal(trace)["shape"]
    return {
        "traffic.messages_per_s": rate_of(trace),
        "overrides.day.traffic.diurnal.shape": shape,
    }


def chutes(data: Path) -> Laws:
    """Turns of all dialogues; pauses, growth and answers of the four role-play-like samples."""
    reached = np.array([int(n) for n in table(data / CHUTES_TURNS)["deepseek_v32"]])
    ended = np.append(reached[:-1] - reached[1:], reached[-1])
    rows = [row for row in samples(data) if row["session"].startswith("long_")]
    pairs = [(a, b) for a, b in pairwise(rows) if a["session"] == b["session"]]
    since = "seconds_since_turn0"
    gaps = [float(b[since]) - float(a[since]) for a, b in pairs]
    said = [max(0, number(b, "input") - number(a, "input") - number(a, "output")) for a, b in pairs]
    first = np.array([number(row, "input") for row in rows if row["turn"] == "0"])
    return {
        "traffic.sessions.turns": (np.repeat(np.arange(1, len(ended) + 1), ended), ""),
        "traffic.sessions.think": (np.array(gaps), "s"),
        "traffic.sessions.user_tokens": (np.array(said), ""),
        "traffic.sessions.initial_history": (before(first, said), ""),
        "traffic.output_tokens": (np.array([number(row, "output") for row in rows]), ""),
    }


def before(first: Data, said: Sequence[int]) -> Data:
    """What a dialogue starts with: its first prompt less what a message adds (the median)."""
    return np.maximum(first - np.median(said), 0)


def samples(data: Path) -> list[dict[str, str]]:
    """The rows of the sample sessions, in order."""
    columns = table(data / CHUTES_SESSIONS)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def number(row: Mapping[str, str], name: str) -> int:
    """Tokens in or out."""
    return int(row[f"{name}_tokens"])


def sharegpt(data: Path) -> Laws:
    """One row a turn, its history in the input."""
    columns = table(data / SHAREGPT)
    return {
        "traffic.sessions.user_tokens": (np.array(columns["num_prefill_tokens"], float), ""),
        "traffic.output_tokens": (np.array(columns["num_decode_tokens"], float), ""),
    }


def cards(data: Path) -> Laws:
    """System prompt and card are the definition, the greeting is what a dialogue starts with."""
    columns = table(data / CARDS)
    system, card, greeting = (
        np.array(columns[f"{name}_tokens"], float) for name in ("system", "card", "greeting")
    )
    return {
        "characters.definition_tokens": (system + card, ""),
        "traffic.sessions.initial_history": (greeting, ""),
    }


FITS = (
    Fit(
        "azure_conversation",
        (AZURE, AZURE_HOURS),
        """Azure LLM inference trace 2023, conversations before 18:55 (13,927 requests of 39
        minutes); the override `day` has the hours of the 2024 trace, read off a published plot
        (UTC, mean of seven days). github.com/Azure/AzurePublicDataset, commit b469a113cedc.
        Licence: CC-BY 4.0. Attribution: P. Patel et al., "Splitwise", ISCA 2024.
        No dialogues and no prefixes are known: an open loop in which every message is new.""",
        azure,
        azure_values,
    ),
    Fit(
        "mooncake_conversation",
        (MOONCAKE,),
        """Mooncake conversation trace, first 2,400 s (7,851 requests).
        github.com/kvcache-ai/Mooncake, commit 3b5a594133958449a1feaf1c9e0fc1b553e34a28.
        Licence: Apache-2.0. Attribution: R. Qin et al., "Mooncake", FAST'25.
        Dialogues are recovered, not recorded: a request continues the last one all of whose full
        blocks of 512 tokens it starts with. The slice of 40 minutes cuts long pauses and long
        dialogues short. A pause is the time between arrivals, on a grid of 3 s.""",
        mooncake,
        lambda data: {"traffic.messages_per_s": rate_of(read_trace(data / MOONCAKE))},
    ),
    Fit(
        "chutes_roleplay",
        (CHUTES_TURNS, CHUTES_SESSIONS),
        """Chutes, DeepSeek V3.2: turns of 2.5 million dialogues (histogram of turn numbers; what
        is beyond 20 turns counts as 20); pauses, growth and answers of the four role-play-like
        sample sessions only (51 requests: a small sample of real behaviour, not a statistic).
        github.com/HarvardMadSys/chutes_workload, commits 1f61bfb6ae42 and d3cc9aacd7ad.
        Licence: CC-BY 4.0. Attribution: Nixon, Durbin, Standhartinger, Gunawi, Yang, "A Year in
        LLM Serving: Workload Evolution, Caching and Load-Balancing", PVLDB 2027.
        Dialogues are recovered by their publisher with a naive chain. A pause is the time between
        arrivals. Give traffic.messages_per_s yourself.""",
        chutes,
    ),
    Fit(
        "ragpulse",
        (RAGPULSE,),
        """RAGPulse, week 1: a university's Q&A service (3,800 requests, 2,215 dialogues).
        github.com/flashserve/RAGPulse, commit 3672232d45d749fdcf45dbc38cc77e5264af4a32.
        Licence: MIT. Attribution: arXiv:2511.12979.
        A pause is the time between arrivals, nights and days included. Prompts there are put
        together afresh each turn and do not grow by the answers, as simulated histories do: growth
        below 0 counts as 0. The override `day` has the shape of the week's hours (UTC+8).""",
        ragpulse,
        ragpulse_values,
    ),
    Fit(
        "sharegpt_8k",
        (SHAREGPT,),
        """ShareGPT cut to 8,192 tokens, Llama 2 tokens, one row a turn with its history (30,731
        rows). github.com/microsoft/sarathi-serve, branch niyama_asplos2026 (72339db5b120).
        Licence: Apache-2.0 (the table). Attribution: A. Agrawal et al., "Sarathi-Serve", OSDI 2024.
        An open loop in which every message is new. Give traffic.messages_per_s yourself.""",
        sharegpt,
        lambda data: {"traffic.kind": "poisson"},
    ),
    Fit(
        "roleplay_cards",
        (CARDS,),
        """Role-play characters: 80 characters and 80 scenes of github.com/boson-ai/RPBench-Auto
        (01a257926b19) and 38 system prompts of github.com/LC1332/Chat-Haruhi-Suzumiya
        (290bf4ad2207), counted with o200k_base. Licence: Apache-2.0 (both). Attribution: Boson AI,
        RPBench-Auto, 2024; C. Li et al., "ChatHaruhi", 2023.
        Definition: system prompt and card; initial history: the greeting. Benchmark cards are
        short; cards that users write reach some thousand tokens. Everything else is yours.""",
        cards,
    ),
)


def text_of(fit: Fit, data: Path) -> str:
    """The file of a fit."""
    return "".join([header(fit, data), *yaml_lines(tree_of(fit, data))])


def header(fit: Fit, data: Path) -> str:
    """Where the numbers come from and how to get them again."""
    about = textwrap.dedent("        " + fit.about).splitlines()
    sums = [
        f"  {name} sha256 {hashlib.sha256((data / name).read_bytes()).hexdigest()[:16]}"
        for name in fit.files
    ]
    lines = [
        "Part of a scenario, for `extends`: laws of traffic, as quantiles.",
        f"Fitted {FITTED} by `python scripts/fit_traffic.py` (the same data, the same bytes) from",
        *sums,
        *about,
        f"Use: `extends: fits/{fit.name}.yaml` in a scenario of scenarios/. Quantiles by percent;",
        "  the ends keep the mean of the lowest and highest hundredth.",
    ]
    return "".join(f"# {line}".rstrip() + "\n" for line in lines)


def tree_of(fit: Fit, data: Path) -> dict[str, Any]:
    """The scenario part: nested mappings."""
    flat: dict[str, Any] = dict(fit.values(data))
    for path, (values, unit) in fit.laws(data).items():
        flat[path] = quantile_law(values, KNOTS, unit)
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *blocks, key = path.split(".")
        place = tree
        for block in blocks:
            place = place.setdefault(block, {})
        place[key] = value
    return tree


def yaml_lines(tree: Mapping[str, Any], depth: int = 0) -> list[str]:
    """Nested mappings as YAML, lists wrapped."""
    lines: list[str] = []
    for key, value in tree.items():
        indent = "  " * depth
        if isinstance(value, Mapping):
            lines += [f"{indent}{key}:\n", *yaml_lines(value, depth + 1)]
        elif isinstance(value, list):
            text = f"{indent}{key}: [{', '.join(map(str, value))}]"
            wrapped = textwrap.wrap(text, 100, subsequent_indent=indent + "  ")
            lines += [f"{line}\n" for line in wrapped]
        else:
            lines.append(f"{indent}{key}: {value}\n")
    return lines


def main(folder: Path) -> None:
    """Write every fit."""
    folder.mkdir(parents=True, exist_ok=True)
    for fit in FITS:
        path = folder / f"{fit.name}.yaml"
        path.write_text(text_of(fit, shared_data()), encoding="utf-8")
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "scenarios" / "fits")
