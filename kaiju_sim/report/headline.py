"""The answer in one or two sentences, said the same way on the console and in the report."""

from collections.abc import Mapping
from typing import Any

from kaiju_sim.report.format import count, percent, rate, show_key, usd

_VERDICTS = {
    "stable": "The fleet keeps up",
    "backlogged": "The fleet ends with a backlog",
    "overloaded": "The fleet is overloaded: latencies depend on how long one looks",
}
_PRESSURES = {
    "bottleneck.prefill_compute": "prefill",
    "bottleneck.decode_bandwidth": "decode",
    "bottleneck.kv_memory": "KV memory",
    "bottleneck.ttft_headroom": "TTFT",
}


def answer(summary: Mapping[str, Any]) -> str:
    """GPUs, throughput and cost per message in one sentence, as far as they are known."""
    parts = [_fleet(summary)]
    served = summary.get("throughput.messages_per_s")
    if served is not None:
        parts.append(f"serves {rate(served)} messages/s")
    cost = summary.get("cost.usd_per_message")
    if cost is not None:
        parts.append(f"at {usd(cost)} USD per message")
    return " ".join(parts) + "."


def _fleet(summary: Mapping[str, Any]) -> str:
    """ "160 x H100-80GB (80 replicas x 2)", or what is known of it."""
    gpus, replicas = summary.get("fleet.gpus"), summary.get("fleet.replicas")
    if gpus is None:
        return "The fleet"
    name = summary.get("fleet.gpu")
    words = f"{count(gpus)} × {name}" if name else f"{count(gpus)} GPUs"
    ranks = summary.get("fleet.tensor_parallel")
    if replicas is not None and ranks is not None:
        words += f" ({count(replicas)} replicas × {ranks})"
    return words


def verdict(summary: Mapping[str, Any]) -> str:
    """The verdict as a sentence, with how many of the cohort completed."""
    word = summary.get("verdict")
    if word is None:
        return "No verdict."
    sentence = _VERDICTS.get(str(word), str(word))
    arrived, completed = summary.get("requests.arrived"), summary.get("requests.completed")
    if arrived and completed is not None:
        sentence += f"; {percent(completed / arrived)} of {count(arrived)} messages completed"
    return sentence + "."


def speed(summary: Mapping[str, Any]) -> str:
    """The two latencies that users feel, in one sentence."""
    p50, p99 = (show_key(summary, f"ttft_s.{q}", "duration") for q in ("p50", "p99"))
    tpot = show_key(summary, "tpot_s.p50", "duration")
    return f"First token after {p50} (median), {p99} (p99); then a token every {tpot} (median)."


def limit(summary: Mapping[str, Any]) -> str:
    """What limits the fleet, with the pressures that say so; "" where the summary does not say."""
    name = summary.get("bottleneck")
    if name is None:
        return ""
    parts = [
        f"{word} {percent(summary[key])}"
        for key, word in _PRESSURES.items()
        if summary.get(key) is not None
    ]
    return f"Nearest to a limit: {name} ({', '.join(parts)})."


def replications(summary: Mapping[str, Any]) -> str:
    """What the figures are means of; "" for a single run."""
    runs = summary.get("run.replications")
    if runs is None or runs < 2:
        return ""
    return f"Means of {count(runs)} replications ± half their 95 % interval (Student's t)."


def warnings(summary: Mapping[str, Any]) -> list[str]:
    """What a reader has to know before any figure: sentences, none if all is well."""
    return [*_transient(summary), *_gate(summary)]


def _gate(summary: Mapping[str, Any]) -> list[str]:
    """Whether the safety gate holds everything up."""
    busy = summary.get("safety.pre.utilisation")
    if busy is None or busy < 0.98:
        return []
    wait = show_key(summary, "safety.pre.wait_s.mean", "duration")
    return [f"The safety gate is full, messages wait {wait} there: raise safety.pool.servers."]


def _transient(summary: Mapping[str, Any]) -> list[str]:
    """Whether the measured time is of a transient."""
    start = show_key(summary, "run.warm_up_s", "duration")
    if summary.get("run.steady_state") == "settles later":
        end = show_key(summary, "run.warm_up_detected_s", "duration")
        return [f"Measured from {start} on, but the fleet settles at {end}: raise run.warm_up."]
    if summary.get("run.steady_state") == "not settled":
        return [f"Measured from {start} on, but the fleet has not settled: raise run.horizon."]
    return []


def source(summary: Mapping[str, Any]) -> str:
    """The badge that every result carries: where its step times come from."""
    return f"source: {summary.get('profile.source') or 'unknown'}"


def source_note(summary: Mapping[str, Any]) -> str:
    """What the badge means, with the profile's id and its stated error."""
    kind = summary.get("profile.source")
    meaning = {
        "roofline": "analytic, not measured",
        "measured": "fitted to measurements on a GPU",
        "derived": "a measured model's curves, fitted to a few measured steps of this one",
        "constant": "set by the scenario",
        "exponential": "random, set by the scenario",
    }.get(str(kind), "origin of the step times not stated")
    error = _error_bounds(summary)
    name = summary.get("profile.id")
    return "; ".join(part for part in (meaning, error, name) if part)


def _error_bounds(summary: Mapping[str, Any]) -> str:
    low, high = summary.get("profile.rel_error_low"), summary.get("profile.rel_error_high")
    if low is None or high is None:
        return "error not known"
    return f"error {low * 100:+.1f} % to {high * 100:+.1f} %".replace("-", "−")
