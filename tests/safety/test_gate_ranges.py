"""What is assumed of the gate moves in the simulated tornado, as far as it acts."""

from fleet_runs import scenario_of
from gate_runs import gated

from kaiju_sim.economics.ranges import ranges_of


def moved(**safety: object) -> set[str]:
    """Paths that are moved, without `safety.` and `.value`."""
    found = ranges_of(gated(safety))
    return {path.removeprefix("safety.").removesuffix(".value") for path in found}


def test_only_what_acts_is_moved() -> None:
    assert moved() == set()
    before, after = moved(pre="before"), moved(post={"kind": "head"})
    assert {"teen_share", "teen.classes.violating", "refused.leave"} <= before & after
    assert {"pool.service_mean_s", "pool.service_sigma", "adult.messages.benign.median"} <= before
    assert {"post.likeness", "post.risk.benign", "teen.answers.violating.spread"} <= after
    assert not {path for path in before if path.startswith("post.") or ".answers." in path}
    assert not {path for path in after if path.startswith("pool.") or ".messages." in path}
    both = moved(pre="before", post={"kind": "head"}, pool={"service": "constant"})
    assert both == (before | after) - {"pool.service_sigma"}


def test_both_ends_of_every_range_are_valid() -> None:
    scenario = gated({"pre": "before", "post": {"kind": "head"}})
    for path, found in ranges_of(scenario).items():
        for end in (found.low, found.high):
            tree = scenario.model_dump()
            part = tree
            *way, last = path.split(".")
            for step in way:
                part = part[step]
            part[last] = float(end)
            assert scenario_of(tree).safety.on
