"""GPUs: peaks, memory, links and dated prices, each figure with its source and grade.

Peaks are dense vendor figures; how much of them is reached is the scenario's business
(`steptime.compute_efficiency`, `steptime.memory_efficiency`) or a calibration profile's.
"""

import datetime
from functools import cache
from typing import Literal

from pydantic import Field, model_validator

from kaiju_sim.catalog.table import Entry, read_table, unknown_name

Positive = Field(gt=0)


class GpuPrice(Entry):
    """What one GPU costs per hour, when, on which terms, and who says so."""

    usd_per_hour: float = Positive
    """Price that the planner uses."""
    low_usd_per_hour: float = Positive
    """Low end of the range for sensitivity analysis."""
    high_usd_per_hour: float = Positive
    """High end of the range for sensitivity analysis."""
    date: datetime.date
    """Month of the price (its first day)."""
    terms: str
    """Commitment, or how the figure was chosen from a range."""
    source: str
    """Where the figure comes from."""
    grade: Literal["P", "S", "R", "I"]
    """P primary, S secondary, R recalled, I inferred."""

    @model_validator(mode="after")
    def _range(self) -> "GpuPrice":
        if not self.low_usd_per_hour <= self.usd_per_hour <= self.high_usd_per_hour:
            raise ValueError("a price must lie within its own range")
        return self


class Gpu(Entry):
    """One GPU type."""

    name: str
    """Catalog name."""
    description: str
    """Full name."""
    int8_ops_per_s: float = Positive
    """Dense int8 tensor operations per second (a multiply-add counts two)."""
    fp8_ops_per_s: float | None = Field(gt=0)
    """Dense fp8 tensor operations per second; none where the GPU has no fp8."""
    bf16_ops_per_s: float = Positive
    """Dense bf16 tensor operations per second."""
    hbm_bytes: int = Positive
    """Memory as the driver reports it to a program."""
    hbm_bytes_per_s: float = Positive
    """Peak memory bandwidth."""
    to_device_bytes_per_s: float = Positive
    """Host to device copies, pinned memory."""
    to_host_bytes_per_s: float = Positive
    """Device to host copies, pinned memory."""
    nvlink_bytes_per_s: float = Positive
    """NVLink bandwidth of one GPU, each way."""
    all_reduce_latency_s: float = Field(ge=0)
    """Time of an all-reduce of very little data within a node."""
    reserved_bytes: int = Field(ge=0)
    """Memory that context, communication buffers and graphs take from the engine's share."""
    sources: dict[str, str]
    """Source and grade of each figure above."""
    prices: tuple[GpuPrice, ...] = Field(min_length=1)
    """Dated prices; the first is the default."""

    @property
    def price(self) -> GpuPrice:
        """The price used when a scenario says `economics.gpu_price: catalog`."""
        return self.prices[0]


def gpu_names() -> list[str]:
    """Names of all GPUs in the catalog."""
    return list(read_table("gpus"))


@cache
def find_gpu(name: str) -> Gpu:
    """The GPU of that name; UserError with the nearest and all allowed names otherwise."""
    if name not in gpu_names():
        unknown_name("gpu", name, gpu_names())
    row = dict(read_table("gpus")[name])
    prices = tuple(GpuPrice(**price) for price in row.pop("prices"))
    return Gpu(name=name, prices=prices, **row)
