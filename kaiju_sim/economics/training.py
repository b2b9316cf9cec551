"""What a training run costs: computing, the network's part, checkpoints, a teacher's targets.

A step computes 6 operations a parameter and token (Kaplan et al., 2001.08361), in int8 faster by a
measured or published factor. Between nodes a GPU sends its share of the gradients once (reduce-
scatter) and of the weights twice (gathered for the forward and the backward pass), each divided
over the GPUs of a node, as tensor parallelism divides the layers. Transfers hide under a share of
the computing; what is left of them is waited for.

So a code of gradients is worth what it takes from the part that is not hidden: on a fast network
nothing. Squinch's 6 bits are 2.67 times less than bf16, not 4: gradients on a quarter of the
bandwidth still take 1.5 times as long, unless they hide.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from kaiju_sim.catalog.gpus import find_gpu
from kaiju_sim.economics.cost.usage import GIB, Usage
from kaiju_sim.economics.measured.training import BOTH, training_measured
from kaiju_sim.economics.values import GPU_PRICE, Values
from kaiju_sim.scenario.parts.pretraining import Pretraining

GRADIENT_BITS = {"squinch": 6.0, "bf16": 16.0}
WEIGHT_BYTES = {"int8": 1.0, "bf16": 2.0}
CHECKPOINT_BYTES = 12.0
"""Of a parameter: float32 weights and Adam's two moments."""
TARGET_BYTES = 4.0
"""Of a token of a teacher's distribution: a 16-bit id and a 16-bit weight."""
STATED, NO_SQUINCH, NO_INT8 = "as stated", "no-squinch", "no-int8-training"


@dataclass(frozen=True)
class Run:
    """A training run in numbers."""

    parameters: float
    """Of the model."""
    tokens: float
    """Of the final run."""
    runs: float
    """All computing / that of the final run."""
    months: float
    """Over which it is written off."""
    share: float
    """That this fleet bears."""
    gpus: int
    """Of the cluster."""
    node_gpus: int
    """Of a node."""
    peak_flops_per_s: float
    """A GPU's bf16 peak."""
    utilisation: float
    """Of it, by a bf16 step that waits for nothing."""
    usd_per_gpu_hour: float
    """Price."""
    speedup: float
    """Of computing, over bf16."""
    batch_tokens: float
    """Of a step."""
    gradient_bits: float
    """Of a gradient on the network."""
    weight_bytes: float
    """Of a weight on the network."""
    network_bytes_per_s: float
    """Of a GPU, to other nodes."""
    overlap: float
    """Share of computing that hides transfers."""
    coded_per_s: float = math.inf
    """Gradients that a GPU packs and unpacks in a second."""

    @property
    def nodes(self) -> int:
        """Over which weights are sharded."""
        return max(1, self.gpus // self.node_gpus)


@dataclass(frozen=True)
class Priced:
    """What a run comes to."""

    step_s: float
    """Time of a step."""
    waiting: float
    """Share of it that waits for the network."""
    gradient_bytes: float
    """That a GPU sends in a step."""
    weights_bytes: float
    """The same of weights."""
    flops_utilisation: float
    """6 x parameters x tokens of a step / what the bf16 peak of all GPUs could do in its time."""
    days: float
    """Of the final run."""
    compute_usd: float
    """All runs."""
    checkpoints_usd: float
    """Storage of what is kept, as long as the model is written off."""
    distillation_usd: float
    """Storage of a teacher's targets, as long."""
    usd: float
    """All of it, this fleet's share."""
    usd_per_month: float
    """Written off."""
    usd_per_message: float
    """The same by messages."""


def run_of(usage: Usage, described: Pretraining, values: Values) -> Run:
    """The run that a scenario describes, for these values."""
    own = {name.removeprefix("pretraining."): v for name, v in values.items()}
    stated = Run(
        parameters=usage.training_flops_per_token / 6.0,
        tokens=values["training.tokens"],
        runs=values["training.runs"],
        months=values["training.months"],
        share=values["training.share"],
        gpus=described.gpus,
        node_gpus=described.node_gpus,
        peak_flops_per_s=usage.training_flops_per_s,
        utilisation=values["training.flops_utilisation"],
        usd_per_gpu_hour=usage.training_usd_per_hour * values[GPU_PRICE],
        speedup=own["int8_speedup"] if described.forward == "int8" else 1.0,
        batch_tokens=own["batch_tokens"],
        gradient_bits=GRADIENT_BITS[described.gradients],
        weight_bytes=WEIGHT_BYTES[described.forward],
        network_bytes_per_s=own["network_bytes_per_s"],
        overlap=own["overlap"],
    )
    return as_measured(stated) if described.step == "measured" else stated


def as_measured(run: Run) -> Run:
    """The run with the speeds that one layer reaches: its share of the measured GPU's peak, int8's
    part in it, and what coding gradients takes."""
    found = training_measured()
    coding_s = 1.0 / found.pack_per_s + 1.0 / found.unpack_per_s
    return replace(
        run,
        utilisation=found.layer.bf16_flops_per_s / find_gpu(found.gpu).bf16_ops_per_s,
        speedup=found.layer.speedup(BOTH) if run.weight_bytes < WEIGHT_BYTES["bf16"] else 1.0,
        coded_per_s=1.0 / coding_s,
    )


def variants(run: Run) -> Mapping[str, Run]:
    """The run, and the run without each trick that it has."""
    found = {STATED: run}
    if run.gradient_bits < GRADIENT_BITS["bf16"]:
        found[NO_SQUINCH] = replace(run, gradient_bits=GRADIENT_BITS["bf16"])
    if run.weight_bytes < WEIGHT_BYTES["bf16"]:
        found[NO_INT8] = replace(run, speedup=1.0, weight_bytes=WEIGHT_BYTES["bf16"])
    if len(found) == 3:
        bits = GRADIENT_BITS["bf16"]
        found["neither"] = replace(found[NO_INT8], gradient_bits=bits)
    return found


def compute_s(run: Run) -> float:
    """Computing of a step."""
    flops = 6.0 * run.parameters * run.batch_tokens
    return flops / (run.gpus * run.peak_flops_per_s * run.utilisation * run.speedup)


def sent_bytes(run: Run) -> tuple[float, float]:
    """Bytes of gradients and of weights that a GPU sends to other nodes in a step."""
    each = run.parameters / run.node_gpus * (run.nodes - 1) / run.nodes
    return each * run.gradient_bits / 8.0, each * run.weight_bytes * 2.0


def coding_s(run: Run) -> float:
    """Of a step: packing this GPU's gradients, and unpacking as many of all ranks."""
    if run.gradient_bits >= GRADIENT_BITS["bf16"] or run.nodes == 1:
        return 0.0
    return run.parameters / run.node_gpus / run.coded_per_s


def waiting_s(run: Run) -> float:
    """Of a step: what transfers take beyond the computing that hides them."""
    return max(0.0, sum(sent_bytes(run)) / run.network_bytes_per_s - run.overlap * compute_s(run))


def priced(run: Run, values: Values, messages_per_month: float) -> Priced:
    """The run in time and money; `values` of `pretraining.*` and of storage."""
    step = compute_s(run) + coding_s(run) + waiting_s(run)
    hours = run.tokens / run.batch_tokens * step / 3600.0
    hours *= 1.0 + pause_share(values)
    compute = hours * run.runs * run.gpus * run.usd_per_gpu_hour
    kept = CHECKPOINT_BYTES * run.parameters * values["pretraining.checkpoints_kept"]
    targets = values["pretraining.distilled_tokens"] * values["pretraining.distilled_k"]
    checkpoints, distilled = (
        size / GIB * values["bill.storage_usd_per_gib_month"] * run.months
        for size in (kept, targets * TARGET_BYTES)
    )
    usd = (compute + checkpoints + distilled) * run.share
    flops = 6.0 * run.parameters * run.batch_tokens
    gradients, weights = sent_bytes(run)
    return Priced(
        step_s=step,
        waiting=waiting_s(run) / step,
        gradient_bytes=gradients,
        weights_bytes=weights,
        flops_utilisation=flops / (step * run.gpus * run.peak_flops_per_s),
        days=hours / 24.0,
        compute_usd=compute,
        checkpoints_usd=checkpoints,
        distillation_usd=distilled,
        usd=usd,
        usd_per_month=usd / run.months,
        usd_per_message=usd / run.months / messages_per_month,
    )


def pause_share(values: Values) -> float:
    """Time of checkpoints / time of steps."""
    every = values["pretraining.checkpoint_hours"] * 3600.0
    return values["pretraining.checkpoint_pause_s"] / every
