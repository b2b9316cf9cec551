"""The kinds of replicas in a fleet: GPUs, step times, KV memory, prices. Most have one kind."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kaiju_sim.catalog.gpus import Gpu, find_gpu
from kaiju_sim.catalog.models import find_model
from kaiju_sim.engine.layout import Arr
from kaiju_sim.scenario.parts import fleet as parts
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.steptime.build import StepTime, build_step_time
from kaiju_sim.steptime.curves import decode_ns, fixed_ns
from kaiju_sim.steptime.memory import KvPlan, kv_plan

COST_STEPS = 100
"""Costs of messages are whole hundredths of the fastest group's."""


@dataclass(frozen=True)
class Group:
    """Replicas that are alike."""

    replicas: int
    """At the start, in all cells together."""
    gpu: Gpu
    tensor_parallel: int
    usd_per_hour: float
    """Price of one GPU."""
    step_time: StepTime
    kv: KvPlan


def build_groups(s: Scenario, folder: Path) -> tuple[Group, ...]:
    """The groups that the scenario names, or all replicas as one."""
    stated = s.fleet.groups or (parts.Group(replicas=s.fleet.replicas),)
    return tuple(build_group(scenario_of(s, group), group, folder) for group in stated)


def scenario_of(s: Scenario, group: parts.Group) -> Scenario:
    """The scenario as it is for one group of replicas."""
    ranks = group.tensor_parallel or s.fleet.tensor_parallel
    share = group.memory_utilisation or s.kv.memory_utilisation
    profile = group.profile or s.steptime.profile
    return s.model_copy(
        update={
            "gpu": group.gpu or s.gpu,
            "fleet": s.fleet.model_copy(update={"tensor_parallel": ranks}),
            "kv": s.kv.model_copy(update={"memory_utilisation": share}),
            "steptime": s.steptime.model_copy(update={"profile": profile}),
        }
    )


def build_group(s: Scenario, group: parts.Group, folder: Path) -> Group:
    """A group, from the scenario as it is for it."""
    gpu = find_gpu(s.gpu)
    step_time = build_step_time(s, folder)
    price = s.economics.gpu_price if group.gpu_price is None else group.gpu_price
    return Group(
        replicas=group.replicas,
        gpu=gpu,
        tensor_parallel=s.fleet.tensor_parallel,
        usd_per_hour=gpu.price.usd_per_hour if price == "catalog" else price,
        step_time=step_time,
        kv=kv_plan(s, gpu, find_model(s.model), step_time.kv_blocks),
    )


def group_of(s: Scenario, groups: Sequence[Group]) -> Arr:
    """The group of each replica of a cell; shards that are added are of the first one."""
    counts = [group.replicas // s.fleet.cells for group in groups]
    most = s.fleet.most_replicas // s.fleet.cells
    added = np.zeros(most - sum(counts), np.int64)
    return np.concatenate([np.repeat(np.arange(len(groups)), counts), added])


def message_costs(s: Scenario, groups: Sequence[Group]) -> Arr:
    """What a message weighs in each group: its step time with a full batch, relative.

    The batch decodes at half of the longest prompt. Whole numbers without a common divisor, so 1
    where all groups are as fast.
    """
    seqs, context = s.engine.max_seqs, s.prompt.limit // 2
    near = min(context, find_model(s.model).window or 0)
    curves = [group.step_time.curves for group in groups]
    decodes = [decode_ns(c, seqs * context, seqs * near, seqs) for c in curves]
    times = np.array([fixed_ns(c, seqs, seqs) for c in curves]) + np.array(decodes)
    costs = np.rint(times / times.min() * COST_STEPS).astype(np.int64)
    return np.asarray(costs // math.gcd(*costs.tolist()))
