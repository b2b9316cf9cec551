"""The whole list of what is measured, and the order in which it is dropped when time is short."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from calibrate.design.capacity import Capacity
from calibrate.design.item import OperatorItem, StepItem
from calibrate.design.lists import grid
from calibrate.design.lists.mixed import FIT, HELD_OUT_LEAST, SPARE, random_steps
from calibrate.design.lists.operators import operator_grid
from calibrate.design.lists.sharing import beams, shared_prefixes
from calibrate.design.lists.variants import long_steps, short_steps
from calibrate.design.serving import ServingItem, serving_items
from kaiju_sim.catalog.models import Model
from kaiju_sim.errors import UserError

VARIANT_RANDOM, SHORT_RANDOM = 40, 6
"""Random steps of a variant: to fit with, and as many held out; of its short plan, none held out.
"""


@dataclass(frozen=True)
class Plan:
    """What is measured, in the order of the design (the loop has its own, random one)."""

    anchors: tuple[StepItem, ...]
    steps: tuple[StepItem, ...]
    operators: tuple[OperatorItem, ...]
    serving: tuple[ServingItem, ...] = ()
    """The serving engine under steady load."""
    left_out: tuple[str, ...] = ()
    """Ids of steps that the engine cannot hold."""

    @property
    def heldout(self) -> int:
        """Steps that judge the fit."""
        return sum(item.set == "heldout" for item in self.steps)


def make_plan(
    model: Model,
    tensor_parallel: int,
    capacity: Capacity,
    variant: str | None = None,
    least: int = HELD_OUT_LEAST,
    *,
    is_long: bool = False,
) -> Plan:
    """The plan for a model on an engine of that capacity, with at least so many held-out steps.

    A variant's is short, unless `is_long`: then it can be fitted.
    """
    if variant is None:
        designed, operators = _core(model), operator_grid(tensor_parallel)
        serving = serving_items(capacity, tensor_parallel)
        counts = (FIT, round(SPARE * least))
    else:
        designed = list((long_steps if is_long else short_steps)(capacity))
        operators, serving = [], ()
        counts = (VARIANT_RANDOM, VARIANT_RANDOM) if is_long else (SHORT_RANDOM, 0)
    out = tuple(item.id for item in designed if not capacity.holds(item.shape))
    anchors = [item for item in grid.anchors() if capacity.holds(item.shape)]
    fitting = [item for item in designed if capacity.holds(item.shape)]
    fitting += random_steps("mixed", counts[0], "fit", capacity)
    taken = {item.shape for item in (*anchors, *fitting)}
    heldout = random_steps("heldout", counts[1], "heldout", capacity, taken, least)
    steps = tuple(_unique([*fitting, *heldout]))
    return Plan(tuple(anchors), steps, tuple(operators), serving, out)


def _core(model: Model) -> list[StepItem]:
    return [
        *grid.aims(),
        *grid.row_edges(),
        *grid.decode_grid(),
        *grid.ragged_decodes(),
        *grid.prefill_grid(),
        *grid.staircase(model.heads),
        *grid.several_chunks(),
        *grid.mixed_grid(),
        *shared_prefixes(),
        *beams(),
    ]


def _unique(items: Iterable[StepItem]) -> list[StepItem]:
    found: dict[str, StepItem] = {}
    for item in items:
        assert item.id not in found, item.id
        found[item.id] = item
    return list(found.values())


def only(plan: Plan, words: Sequence[str]) -> Plan:
    """What has one of these words in its id; UserError if nothing has."""
    if not words:
        return plan

    def kept(item: StepItem | OperatorItem | ServingItem) -> bool:
        return any(word in item.id for word in words)

    steps = tuple(filter(kept, plan.steps))
    operators = tuple(filter(kept, plan.operators))
    serving = tuple(filter(kept, plan.serving))
    if not steps and not operators and not serving:
        every: list[StepItem | OperatorItem | ServingItem] = [*plan.steps, *plan.operators]
        ids = [item.id for item in (*every, *plan.serving)]
        kinds = sorted({id.partition("/")[0] for id in ids})
        raise UserError(f"--only {','.join(words)}: nothing has that name; {', '.join(kinds)}")
    return Plan(plan.anchors, steps, operators, serving, plan.left_out)
