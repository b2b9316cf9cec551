"""Every operator is called as its launcher wants it, and is right: small cases, one set of inputs.

On the CPU the kernels are interpreted; the clock is a double that times nothing.
"""

import time
from importlib import import_module
from inspect import signature

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton")

from benchmarks.kernels import inputs, ours, peers  # noqa: E402
from benchmarks.kernels.cases import Case, chosen, small_cases  # noqa: E402
from benchmarks.kernels.processes import worker  # noqa: E402
from benchmarks.kernels.timing import Contender  # noqa: E402
from kernels.shared_prefix import group_by_prefix  # noqa: E402


class Still:
    """A replay that takes a microsecond."""

    calls, method = 1, "fake"

    def __init__(self) -> None:
        self.queued = 0

    def start(self) -> None:
        self.queued += 1

    def seconds(self) -> list[float]:
        done, self.queued = self.queued, 0
        return [1e-6] * done


class NoClock:
    """Runs each call once and times nothing."""

    def prepare(self, contender: Contender) -> Still:
        for call in contender.calls:
            call()
        return Still()


@pytest.mark.parametrize("case", small_cases(), ids=lambda case: case.name)
def test_ours_is_right_in_every_small_case(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "PEERS", {})
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = worker.measure(case, NoClock(), device, 0.001, 0.0)
    assert found["failures"] == []
    row = next(row for row in found["rows"] if row["impl"] == "ours")
    assert row["us_median"] == pytest.approx(1.0)
    assert row["tb_per_s"] == pytest.approx(case.bytes * 1e-6)
    assert row["repeats"] == sum(one["impl"] == "ours" for one in found["samples"])
    assert row["relative_error"] is not None or case.operator.endswith("_plan")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("decode 5 x 300 ragged", ["ours", "ours chained", "ours, plain Triton"]),
        ("decode 2 x 200 2 KV", ["ours", "ours chained"]),
        ("decode 2 x 200 float16", ["ours"]),
        ("small matmul 200", ["ours", "ours chained", "ours, plain Triton"]),
        ("shared prefix", ["ours", "ours, shuffled", "ours, nothing shared"]),
        ("prefill 140", ["ours"]),
    ],
)
def test_variants_on_hopper_are_right(
    name: str, wanted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = name.split()
    case = next(c for c in small_cases() if [w for w in c.name.split() if w in words] == words)
    monkeypatch.setattr(worker, "PEERS", {})
    monkeypatch.setattr(ours, "is_hopper", lambda: True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = worker.measure(case, NoClock(), device, 0.001, 0.0)
    assert found["failures"] == []
    assert [row["impl"] for row in found["rows"]] == wanted


@pytest.mark.parametrize("operator", ["norm_quantise", "rotary_write"])
def test_small_operators_are_chained_if_they_can_be(
    operator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = next(case for case in small_cases() if case.operator == operator)
    monkeypatch.setattr(worker, "PEERS", {})
    monkeypatch.setattr(ours, "is_hopper", lambda: True)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    found = worker.measure(case, NoClock(), device, 0.001, 0.0)
    assert found["failures"] == []
    function = getattr(import_module(f"kernels.{operator}"), operator)
    chained = ["ours chained"] if "chained" in signature(function).parameters else []
    assert [row["impl"] for row in found["rows"]] == ["ours", *chained]


def test_products_of_many_rows_are_not_chained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "is_hopper", lambda: True)
    for case in chosen("^matmul"):
        assert ("ours chained" in ours.variants(case)) == (case.shape["m"] <= 256)


def test_a_slow_contender_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow() -> None:
        time.sleep(5)

    case = small_cases()[0]
    both = [Contender("ours", [slow]), Contender("good", [int])]
    monkeypatch.setattr(worker, "CONTENDER_S", 0.2)
    monkeypatch.setattr(worker, "OPERATORS", {case.operator: lambda *_: iter(both)})
    monkeypatch.setattr(worker, "PEERS", {})
    monkeypatch.setattr(worker, "build", lambda *_: inputs.Sets([], 0))
    found = worker.measure(case, NoClock(), "cpu", 0.001, 0.0)
    assert [row["impl"] for row in found["rows"]] == ["good"]
    assert found["failures"] == ["ours: Late: not ready after 0 s"]


def test_users_of_a_prefix_share_pages_and_the_grouped_order_brings_them_together() -> None:
    case = next(case for case in small_cases() if case.operator == "shared_prefix")
    (given,) = inputs.build(case, "cpu", 0.0).sets
    entries = case.shape["prefix"] // 128
    firsts = given.shared.pages[:, :entries]
    assert len(firsts.unique()) == entries * case.shape["batch"] // case.shape["group"]
    assert len(given.own_pages[:, :entries].unique()) == entries * case.shape["batch"]
    order = group_by_prefix(given.shared.pages, given.prefix_tokens)
    pages = ours.in_order(given.shared, order).pages[:, 0]
    assert len(pages.unique_consecutive()) == len(pages.unique())


def test_what_fails_is_told_and_costs_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    case = small_cases()[0]

    def three(_case: Case, _sets: object):
        yield Contender("ours", [int], lambda: 0.5)
        yield Contender("good", [int])
        yield Contender("bad", [lambda: [][0]])
        raise RuntimeError("out of memory\nand more")

    monkeypatch.setattr(worker, "OPERATORS", {case.operator: three})
    monkeypatch.setattr(worker, "PEERS", {})
    monkeypatch.setattr(worker, "build", lambda *_: inputs.Sets([], 0))
    found = worker.measure(case, NoClock(), "cpu", 0.001, 0.0)
    assert [row["impl"] for row in found["rows"]] == ["good"]
    assert len(found["failures"]) == 3
    told = "; ".join(found["failures"])
    for words in ("wrong: relative error 0.5", "bad: IndexError", "RuntimeError: out of memory"):
        assert words in told


def test_inputs_exceed_the_cache_four_times() -> None:
    """Of every case, counted in what a call reads; a plan is in the cache in use, too."""
    for case in chosen(None):
        if case.operator.endswith("_plan"):
            continue
        made = inputs.sets_of(lambda seed: seed, inputs.read_bytes(case), inputs.ROTATED_BYTES)
        assert made.bytes > 200e6, case.name
        assert made.sets == list(range(len(made.sets)))
        assert made.bytes == pytest.approx(len(made.sets) * inputs.read_bytes(case))


def test_every_operator_has_an_adapter_and_every_aim_a_peer() -> None:
    operators = {case.operator for case in chosen(None)}
    assert operators == set(ours.OPERATORS) | {"copy", "read"} == set(inputs.MAKERS)
    assert {case.operator for case in small_cases()} == set(ours.OPERATORS)
    assert set(peers.PEERS) <= operators


def test_plain_copies_and_reads_are_right() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    source = torch.arange(3 * 16384 - 5, dtype=torch.int32, device=device)
    out = torch.full_like(source, -1)
    peers.triton_copy(source, out)
    assert torch.equal(out, source)
    sums = torch.zeros(3, dtype=torch.int32, device=device)
    peers.triton_read(source // 1000, sums)
    assert int(sums.sum()) == int((source // 1000).sum())


def test_all_sets_of_the_embedding_share_a_table() -> None:
    case = next(case for case in small_cases() if case.operator == "embedding")
    made = inputs.build(case, "cpu", 3 * case.least_bytes)
    ids, tables, _ = zip(*made.sets, strict=True)
    assert len(ids) == 4
    assert len({table.data_ptr() for table in tables}) == 1
    assert not torch.equal(ids[0], ids[1])
