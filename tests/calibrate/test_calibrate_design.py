"""Shapes and the design: features as the simulator counts them, what is planned, what fits."""

import math
from statistics import median

import pytest

from calibrate.design.buckets import bucket_of, round_tokens, row_buckets
from calibrate.design.capacity import (
    Capacity,
    expected_capacity,
    global_blocks_of,
    local_pages_of,
)
from calibrate.design.estimate import Estimate, estimate_for
from calibrate.design.item import EARLY, KEEP, LATE, StepItem
from calibrate.design.lists.operators import operator_grid
from calibrate.design.lists.variants import VARIANTS, largest_batch, variant_of
from calibrate.design.plan import Plan, make_plan, only
from calibrate.design.text import WHY, explain
from calibrate.report.steps import step_name
from calibrate.shapes import Chunk, Limits, StepShape, shape_columns, shape_of
from kaiju_sim.catalog.gpus import find_gpu
from kaiju_sim.catalog.models import find_model
from kaiju_sim.errors import UserError

KAIJU, H100 = find_model("kaiju-13b"), find_gpu("H100-80GB")
ROOMY = expected_capacity(H100, KAIJU, 1)
PLAN = make_plan(KAIJU, 1, ROOMY)


def of(name: str) -> list[StepItem]:
    return [item for item in PLAN.steps if item.id.startswith(f"{name}/")]


def test_features_are_counted_pair_by_pair() -> None:
    shape = StepShape((5, 2000), (Chunk(3, 10), Chunk(2, 1023, last=False)))
    seen = [cached + 1 + i for new, cached in ((3, 10), (2, 1023)) for i in range(new)]
    assert (shape.rows, shape.seqs, shape.longest) == (7, 3, 2000)
    assert (shape.context, shape.window(1024)) == (2005, 1029)
    assert shape.pairs == sum(seen)
    assert shape.near(1024) == sum(min(keys, 1024) for keys in seen)
    assert StepShape().longest == 0


def test_a_shape_survives_its_columns() -> None:
    shape = StepShape((700,) * 8, (Chunk(3, 10), Chunk(1, 0, last=False)), 4, 512)
    assert shape_of(shape_columns(shape)) == shape


def test_the_same_plan_each_time() -> None:
    assert make_plan(KAIJU, 1, ROOMY) == PLAN


def test_held_out_steps_follow_their_law() -> None:
    held = [item.shape for item in PLAN.steps if item.set == "heldout"]
    assert len(held) >= 330
    assert sum(item.set == "heldout" and item.rank == KEEP for item in PLAN.steps) == 300
    batches = [len(shape.decodes) for shape in held]
    assert (min(batches), max(batches) <= 256) == (0, True)
    assert 10 < median(n for n in batches if n) < 26  # of a log-uniform law: 16
    contexts = [context for shape in held for context in shape.decodes]
    assert (min(contexts), max(contexts)) == (64, 16384)
    chunks = [chunk for shape in held for chunk in shape.chunks]
    assert {len(shape.chunks) for shape in held} == {0, 1, 2, 3, 4}
    assert all(16 <= chunk.new <= 1024 and chunk.cached <= 12288 for chunk in chunks)
    assert 90 < median(chunk.new for chunk in chunks) < 160  # 128
    assert max(shape.rows for shape in held) <= 2048
    assert {chunk.last for chunk in chunks} == {True, False}


def test_contexts_of_most_random_steps_lie_near_a_scale() -> None:
    spreads = []
    for item in of("heldout"):
        logs = [math.log(context) for context in item.shape.decodes]
        if len(logs) >= 8:
            mean = sum(logs) / len(logs)
            spreads.append(math.sqrt(sum((x - mean) ** 2 for x in logs) / len(logs)))
    near = sum(spread < 0.8 for spread in spreads) / len(spreads)
    assert 0.6 < near < 0.9


def test_no_held_out_step_is_in_the_fit() -> None:
    shapes = {of: {i.shape for i in PLAN.steps if i.set == of} for of in ("fit", "heldout")}
    assert not shapes["fit"] & shapes["heldout"]
    assert not {item.shape for item in PLAN.anchors} & shapes["heldout"]


def test_every_edge_of_a_bucket_is_in_the_fit_and_never_dropped() -> None:
    kept = {item.shape.rows for item in PLAN.steps if item.set == "fit" and item.rank == KEEP}
    assert kept >= set(row_buckets(2048 + 256))


def test_buckets_pad_as_the_engine_does() -> None:
    assert row_buckets(300)[-4:] == [128, 192, 256, 384]
    assert row_buckets(600)[-2:] == [512, 640]
    padded_rows = pytest.importorskip("kernels.model.steps.step").padded_rows
    for rows in range(1, 2400):
        assert bucket_of(rows) == next(edge for edge in row_buckets(2400) if edge >= rows)
        assert bucket_of(rows) == padded_rows(rows)


@pytest.mark.parametrize("heads", [64, 128])
def test_the_staircase_of_prefill_is_measured_on_both_sides(heads: int) -> None:
    model = KAIJU.model_copy(update={"heads": heads})
    new = {i.shape.rows for i in make_plan(model, 1, ROOMY).steps if i.id.startswith("stair/")}
    edges = set(range(round_tokens(heads), 2049, round_tokens(heads)))
    assert new == edges | {edge + 1 for edge in edges}
    assert round_tokens(64) == 264


def test_decodes_to_fit_are_unequal_and_off_the_pages_edges() -> None:
    """Beside those that share pages, and those drawn by the held-out law."""
    fit = [i for i in PLAN.steps if i.set == "fit" and not i.id.startswith("mixed/")]
    shapes = [item.shape for item in fit if item.shape.shared_group == 1]
    decodes = [shape.decodes for shape in shapes if shape.decodes]
    assert not any(all(tokens % 128 == 0 for tokens in contexts) for contexts in decodes)
    assert all(len(set(contexts)) > 1 for contexts in decodes if len(contexts) > 8)
    for item in of("decode"):
        nominal = int(item.id.rpartition("near")[2])
        if len(item.shape.decodes) >= 64:
            logs = [math.log(tokens / nominal) for tokens in item.shape.decodes]
            assert abs(sum(logs)) / len(logs) < 0.2
            assert 0.2 < math.sqrt(sum(x * x for x in logs) / len(logs)) < 0.5


def test_the_floor_tables_steps_are_exact_and_never_dropped_nor_fitted() -> None:
    aims = [item for item in PLAN.steps if item.set == "aim"]
    names = {f"b{n}" for n in (1, 16, 64, 128, 256, 512)} | {"n2048", "n4096"}
    assert {step_name(item.shape) for item in aims} == names
    assert {item.rank for item in aims} == {KEEP}
    assert {item.id.partition("/")[0] for item in aims} == {"aim"}


def test_random_steps_of_the_fit_go_last_and_first() -> None:
    ranks = [item.rank for item in of("mixed")]
    assert ranks == [LATE] * 120 + [EARLY] * 120


def test_ten_anchors_of_three_kinds() -> None:
    assert len(PLAN.anchors) == 10
    assert {item.kind for item in PLAN.anchors} == {"decode", "prefill", "mixed"}


def test_shared_pages_are_whole_and_groups_are_full() -> None:
    for item in of("shared") + of("beam"):
        shape = item.shape
        assert len(shape.decodes) % shape.shared_group == 0
        assert shape.shared_tokens % 128 == 0
        assert 0 < shape.shared_tokens < min(shape.decodes)
        assert item.kind == item.id.partition("/")[0]


def test_pages_are_counted_by_hand() -> None:
    shape = StepShape((300,) * 6, (Chunk(100, 4000),), 3, 256)
    assert global_blocks_of(shape) == 2 * (2 + 3) + 33
    assert local_pages_of(shape, 1024) == 6 * 3 + 9 + 1


def test_what_the_engine_cannot_hold_is_left_out_and_told() -> None:
    small = Capacity(4000, 3000, Limits(2304, 256, 32768))
    plan = make_plan(KAIJU, 1, small)
    assert all(small.holds(item.shape) for item in (*plan.steps, *plan.anchors))
    assert "decode/b512/near64" in plan.left_out
    assert plan.heldout >= 330
    assert any("Left out" in line for line in explain(plan, estimate(), 480.0))


def estimate() -> Estimate:
    return estimate_for(H100, KAIJU, 1)


def test_the_estimate_is_the_roofline() -> None:
    expected = estimate_for(H100, KAIJU, 1)
    small, large = StepShape((64,)), StepShape((8192,) * 256)
    weights = KAIJU.rank_weight_bytes() / H100.hbm_bytes_per_s
    assert weights < expected.step_s(small) < 2 * weights
    assert expected.step_s(large) > 1.5 * expected.step_s(small)


def test_the_core_plan_fits_eight_minutes_twice() -> None:
    expected = estimate_for(H100, KAIJU, 1)
    assert expected.total_s(PLAN.steps, 5) < 200


def test_every_group_says_why() -> None:
    lines = list(explain(PLAN, estimate_for(H100, KAIJU, 1), 480.0))
    names = {item.id.partition("/")[0] for item in (*PLAN.steps, *PLAN.anchors)}
    names |= {"operator", "engine"}
    assert names == set(WHY)
    for name in names:
        assert sum(line.startswith(f"{name} ") and WHY[name] in line for line in lines) == 1


def test_only_takes_what_is_named() -> None:
    assert {i.id.partition("/")[0] for i in only(PLAN, ["edge-", "beam"]).steps} == {
        "edge-decode",
        "edge-prefill",
        "beam",
    }
    assert {i.operator for i in only(PLAN, ["head"]).operators} == {"head"}
    with pytest.raises(UserError, match="nothing has that name; anchor|beam"):
        only(PLAN, ["nonsense"])


def test_all_reduce_is_an_operator_of_several_gpus() -> None:
    assert "all_reduce" in {item.operator for item in operator_grid(2)}
    assert "all_reduce" not in {item.operator for item in operator_grid(1)}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_takes_one_choice_back(name: str) -> None:
    model = variant_of(KAIJU, name)
    assert model != KAIJU
    assert model.layers == KAIJU.layers
    capacity = expected_capacity(H100, model, 1)
    largest = largest_batch(capacity)
    assert largest == 256 or not capacity.holds(StepShape((4096,) * (largest + 8)))
    short, long = (make_plan(model, 1, capacity, name, is_long=is_long) for is_long in (0, 1))
    for plan in (short, long):
        batches = {len(i.shape.decodes) for i in plan.steps if i.id.endswith("/c4096")}
        assert max(batches) == largest > 0
        assert {1, 64, largest} <= batches or largest < 64
    assert {item.id for item in short.steps} <= {item.id for item in long.steps}
    assert (len(short.steps) <= 11, short.heldout, long.heldout) == (True, 0, 40)


def test_bf16_variants_differ_in_what_they_say() -> None:
    widths = {
        name: (model.weight_bytes, model.kv_bytes, model.kv_heads, model.window, model.kv_owners)
        for name in VARIANTS
        for model in [variant_of(KAIJU, name)]
    }
    assert widths["bf16-weights"] == (2, 1, 1, 1024, 20)
    assert widths["bf16-gqa-8"] == (2, 2, 8, 1024, 20)
    assert widths["bf16-mha"] == (2, 2, 64, 1024, 20)
    assert widths["kv-16bit"] == (1, 2, 1, 1024, 20)
    assert widths["no-sharing"] == (1, 1, 1, 1024, 48)
    assert widths["no-window"] == (1, 1, 1, None, 20)


def test_mha_in_bf16_does_not_fit_256() -> None:
    assert largest_batch(expected_capacity(H100, variant_of(KAIJU, "bf16-mha"), 1)) < 128


def test_a_variant_that_is_none_is_named() -> None:
    with pytest.raises(UserError, match="unknown variant 'moe'; there are: gqa-8, mha"):
        variant_of(KAIJU, "moe")


def test_ids_are_unique() -> None:
    def ids(plan: Plan) -> list[str]:
        return [i.id for i in (*plan.anchors, *plan.steps)] + [i.id for i in plan.operators]

    assert len(set(ids(PLAN))) == len(ids(PLAN))
