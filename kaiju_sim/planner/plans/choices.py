"""What a plan chooses from: GPU type, tensor parallel, token budget, batch cap, router."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from kaiju_sim.catalog.gpus import find_gpu
from kaiju_sim.errors import UserError
from kaiju_sim.scenario.schema import Scenario
from kaiju_sim.simulation import build_plant


@dataclass(frozen=True)
class Choice:
    """One kind of fleet; how many replicas of it is the search's business."""

    gpu: str
    tensor_parallel: int
    token_budget: int
    max_seqs: int
    router: str

    def of(self, s: Scenario) -> Scenario:
        """The scenario with this kind of fleet."""
        return s.model_copy(
            update={
                "gpu": self.gpu,
                "fleet": s.fleet.model_copy(update={"tensor_parallel": self.tensor_parallel}),
                "engine": s.engine.model_copy(
                    update={"token_budget": self.token_budget, "max_seqs": self.max_seqs}
                ),
                "router": s.router.model_copy(update={"policy": self.router}),
            }
        )

    def usd_per_hour(self, s: Scenario, gpus: int) -> float:
        """What so many of its GPUs cost."""
        price = s.economics.gpu_price
        each = find_gpu(self.gpu).price.usd_per_hour if price == "catalog" else price
        return gpus * each


def choices_of(s: Scenario) -> list[Choice]:
    """All kinds of fleets that the scenario lets one choose from."""
    plan = s.plan
    return [
        Choice(*values)
        for values in product(
            plan.gpus or (s.gpu,),
            plan.tensor_parallel or (s.fleet.tensor_parallel,),
            plan.token_budgets or (s.engine.token_budget,),
            plan.max_seqs or (s.engine.max_seqs,),
            plan.routers or (s.router.policy,),
        )
    ]


def possible(s: Scenario, base_dir: Path) -> Iterator[tuple[Choice, str]]:
    """Each choice, and why there is no such fleet; empty if there is.

    UserError for a GPU that there is not, and if none can be built (weights that do not fit, ranks
    that cannot share a model): the first one's.
    """
    for name in s.plan.gpus:
        _check_gpu(name)
    found = [(choice, _why_not(choice.of(s), base_dir)) for choice in choices_of(s)]
    if all(why for _, why in found):
        raise UserError(found[0][1])
    yield from found


def _check_gpu(name: str) -> None:
    try:
        find_gpu(name)
    except UserError as error:
        raise UserError(f"plan.{error.message.replace('gpu', 'gpus', 1)}") from None


def _why_not(s: Scenario, base_dir: Path) -> str:
    try:
        Scenario.model_validate(s.model_dump())
        build_plant(s, base_dir)
    except UserError as error:
        return error.message
    except ValueError as error:
        return str(error).splitlines()[2].strip() if "\n" in str(error) else str(error)
    return ""
