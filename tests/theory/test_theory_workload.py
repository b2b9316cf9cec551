"""The traffic that a fleet receives has the laws that its scenario states (tests at 99.9 %)."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from fleet_runs import Columns, Tree, columns, constant, scenario_of
from scipy import stats

from kaiju_sim.simulation import simulate

ALPHA = 0.001
FAST: Tree = {
    "run": {"warm_up": 0.0, "horizon": 1000.0, "epoch": 1.0},
    "traffic": {
        "messages_per_s": 200.0,
        "sessions": {"user_tokens": constant(1)},
        "output_tokens": constant(1),
    },
    "characters": {"count": 1, "definition_tokens": constant(0)},
    "kv": {"prefix_cache": False},
    "steptime": {"kind": "constant", "step": 1e-4},
    "results": {"request_rows": 10_000_000, "tick": 1000.0},
}
"""200,000 messages that take next to no time."""


def sent(*changes: Tree) -> Columns:
    """The messages of a run."""
    return columns(simulate(scenario_of(FAST, *changes)).requests)


def assert_shares(counts: Any, shares: Any) -> None:
    """Counts are multinomial with these shares (chi-square)."""
    shares = np.asarray(shares) / np.sum(shares)
    assert stats.chisquare(counts, shares * np.sum(counts)).pvalue > ALPHA


def assert_mean(values: Any, mean: float) -> None:
    """Independent values have this mean (z test)."""
    z = (np.mean(values) - mean) / (np.std(values) / np.sqrt(len(values)))
    assert abs(z) < stats.norm.ppf(1 - ALPHA / 2)


def characters(*, zipf: float, head_cap: float = 1.0) -> Any:
    """Messages of each of 40 characters."""
    found = sent({"characters": {"count": 40, "zipf": zipf, "head_cap": head_cap}})["character"]
    return np.bincount(found, minlength=40)


@pytest.mark.parametrize("zipf", [0.0, 0.6, 0.9, 1.4])
def test_characters_are_zipf(zipf: float) -> None:
    """The share of rank r is proportional to r ** -zipf."""
    assert_shares(characters(zipf=zipf), np.arange(1.0, 41.0) ** -zipf)


def test_head_cap_moves_the_excess_to_the_others() -> None:
    """The first is cut to the cap, the rest keep their proportions."""
    share = np.arange(1.0, 41.0) ** -0.9
    share[1:] *= (1 - 0.12) / share[1:].sum()
    share[0] = 0.12
    assert share[1] < 0.12
    assert_shares(characters(zipf=0.9, head_cap=0.12), share)


def test_arrivals_are_poisson() -> None:
    """Gaps are exponential; the index of dispersion of counts is 1 at every scale."""
    at = sent()["arrival_s"]
    assert stats.kstest(np.diff(at), "expon", args=(0, 1 / 200)).pvalue > ALPHA
    for bin_s in (0.01, 0.1, 1.0, 10.0):
        counts = np.bincount((at / bin_s).astype(int), minlength=round(1000 / bin_s))
        dispersion = counts.var() / counts.mean() * counts.size
        low, high = stats.chi2.ppf([ALPHA / 2, 1 - ALPHA / 2], counts.size - 1)
        assert low < dispersion < high


@pytest.mark.parametrize("start_hour", [0.0, 17.5])
def test_arrivals_follow_the_shape_of_the_day(start_hour: float) -> None:
    """Messages of each half hour are Poisson with the shape's integral, linear between hours."""
    shape = [3, 2, 1, 1, 1, 2, 4, 6, 8, 9, 9, 10, 11, 10, 10, 12, 14, 15, 16, 18, 17, 13, 9, 5]
    diurnal = {"shape": shape, "start_hour": start_hour}
    day: Tree = {"run": {"horizon": 86400.0}, "traffic": {"messages_per_s": 5, "diurnal": diurnal}}
    at = sent(day, {"results": {"tick": 86400.0}})["arrival_s"]
    middle = (start_hour + (np.arange(480) + 0.5) / 20) % 24
    relative = np.interp(middle, np.arange(25), [*shape, shape[0]]).reshape(48, 10).mean(axis=1)
    expected = 5 * 1800 * relative / np.mean(shape)
    counts = np.bincount((at / 1800).astype(int), minlength=48)
    assert ((counts - expected) ** 2 / expected).sum() < stats.chi2.ppf(1 - ALPHA, 48)


def dialogues(turns: Tree, think: Tree) -> Columns:
    """Dialogues that began early enough to have come to their end, sorted by session and turn."""
    sessions = {"turns": turns, "think": think}
    c = sent(
        {"traffic": {"kind": "sessions", "sessions": sessions}, "run": {"epoch": 1e-3}},
        {"run": {"horizon": 400.0}},
    )
    order = np.lexsort((c["turn"], c["session"]))
    c = {name: column[order] for name, column in c.items()}
    first = c["arrival_s"][np.searchsorted(c["session"], c["session"])]
    return {name: column[first < 200.0] for name, column in c.items()}


def test_dialogues_are_geometric_and_pauses_exponential() -> None:
    """Messages per dialogue and the time from an answer to the next message, as stated."""
    c = dialogues({"kind": "geometric", "mean": 5}, {"kind": "exponential", "mean": 1.0})
    _, lengths = np.unique(c["session"], return_counts=True)
    counts = np.bincount(np.minimum(lengths, 31), minlength=32)[1:]
    assert_shares(counts, [*(0.2 * 0.8 ** np.arange(30)), 0.8**30])
    same = np.diff(c["session"]) == 0
    pause = (c["arrival_s"][1:] - (c["arrival_s"] + c["e2e_s"])[:-1])[same]
    assert pause.min() > 1e-3 - 1e-9  # shorter ones are put off to one epoch
    assert stats.kstest(pause, "expon").pvalue > ALPHA


LAWS: Sequence[tuple[Tree, float]] = [
    ({"kind": "lognormal", "mean": 140, "sigma": 0.8}, 140),
    ({"kind": "lognormal", "mean": 512, "sigma": 0.5, "min": 16, "max": 2048}, 512),
    ({"kind": "exponential", "mean": 300}, 300),
    ({"kind": "geometric", "mean": 7}, 7),
    ({"kind": "uniform", "min": 10, "max": 90}, 50),
    ({"kind": "quantiles", "values": [10, 20, 100]}, (15 + 60) / 2),
]


@pytest.mark.parametrize(
    ("law", "mean"), LAWS, ids=lambda x: x["kind"] if isinstance(x, dict) else ""
)
def test_token_counts_have_the_stated_mean(law: Tree, mean: float) -> None:
    """Whole tokens, their mean as stated, for prompts and answers."""
    change: Tree = {
        "traffic": {"sessions": {"user_tokens": law}, "output_tokens": law, "messages_per_s": 50},
        "engine": {"max_context": 200_000},
        "prompt": {"limit": 100_000},
        "kv": {"global_blocks": 10_000_000, "local_windows": 10_000_000},
    }
    c = sent(change)
    assert_mean(c["prompt_tokens"], mean)
    assert_mean(c["output_tokens"], mean)


def test_two_seeds_give_two_worlds_and_streams_are_apart() -> None:
    """Another seed, other users; another answer length, the same arrivals and characters."""
    change: Tree = {"characters": {"count": 40}, "run": {"horizon": 10.0}}
    one, other = sent(change), sent(change, {"seed": 2})
    assert not np.array_equal(one["character"][:500], other["character"][:500])
    longer = sent(change, {"traffic": {"output_tokens": constant(9)}})
    assert np.array_equal(one["arrival_s"], longer["arrival_s"])
    assert np.array_equal(one["character"], longer["character"])
