"""What `serve` opens a model with: host memory as it is simulated, a checkpoint's classifier."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from serving_limits import constant_curves, limits_with

from calibrate.engine.clock import FakeClock
from calibrate.engine.memory.host_tier import Host
from calibrate.engine.served import machine
from calibrate.engine.served.guide import Guide, read_guide
from calibrate.engine.served.seam import Rates
from calibrate.gpu.engine import state_of
from calibrate.gpu.serve import host_pool, live
from calibrate.gpu.serve.host_pool import HostPool, pinned_bytes
from calibrate.gpu.serve.judges import Judged
from calibrate.gpu.serve.opening import host_of, linked, open_engine
from calibrate.models import config_of
from calibrate.serving.rules import limits_of, rules_of
from kaiju_sim.catalog.models import find_model
from kaiju_sim.errors import UserError
from kaiju_sim.fleet.setup.build import Plant, make_limits
from kaiju_sim.fleet.setup.groups import build_groups
from kaiju_sim.scenario.loader import load_scenario
from kernels.model.model import KaijuModel
from kernels.model.state.load import save_state
from kernels.model.state.weights import random_state
from kernels.model.steps.cache import CachePlan, KVCache
from kernels.model.steps.runner import Runner

GUIDE = "rewards: [{head: kind}]\nthresholds: [{head: unsafe, above: 0.5}]\n"
SCENARIO = """
schema_version: 1
name: far
engine: {candidates: 3, max_seqs: 90}
kv: {block_tokens: 128, host_memory: 64GiB, local_retention: RETENTION, POOLS}
traffic: {kind: sessions, messages_per_s: 1}
"""


@pytest.mark.parametrize(
    ("retention", "pools", "plan"),
    [
        ("turn_end", "global_blocks: 7000, local_windows: 400", CachePlan(7000, 400, 9, 0)),
        ("all", "global_blocks: 7000", CachePlan(7000, 0, 9, 7000)),
    ],
)
def test_host_memory_is_divided_as_it_is_simulated(
    tmp_path: Path, retention: str, pools: str, plan: CachePlan
) -> None:
    """The scenario's pools are those of a cache: so are blocks, windows and times on the link; and
    what candidates need."""
    file = tmp_path / "rules.yaml"
    file.write_text(SCENARIO.replace("RETENTION", retention).replace("POOLS", pools))
    scenario = load_scenario(str(file)).scenario
    groups = build_groups(scenario, tmp_path)
    gpu, kv, model = groups[0].gpu, groups[0].kv, find_model(scenario.model)
    theirs = make_limits(Plant(scenario, gpu, model, groups[0].step_time, kv, None, groups), 8)
    config = config_of(model)
    ours = limits_of(rules_of(file))._replace(windows=plan.windows, window=1024)
    assert host_of(64 << 30, ours, config, plan) == (kv.host_blocks, kv.host_windows)
    assert kv.host_blocks > 0
    linked_limits = linked(ours, config, Rates(gpu.to_device_bytes_per_s, gpu.to_host_bytes_per_s))
    for name in (
        "load_ns", "window_load_ns", "store_ns", "window_store_ns", "candidates", "chunk", "extra",
        "max_seqs",
    ):  # fmt: skip
        assert getattr(linked_limits, name) == pytest.approx(getattr(theirs, name)), name


def test_what_is_pinned_is_known_before() -> None:
    parts = [torch.zeros((4, 1, 128, 128), dtype=torch.int8)] * 2
    pool = HostPool(parts, 12)
    assert pinned_bytes(2 * 128 * 128, 12) == 1 << 19  # 12 pages of 32 KiB, rounded up
    assert sum(piece.nbytes for piece in pool._pieces) == 12 << 15
    most = host_pool.PIECE_BYTES >> 15
    assert pinned_bytes(1 << 15, 2 * most + 1) == 2 * host_pool.PIECE_BYTES + (1 << 15)
    assert pinned_bytes(1 << 15, 0) == 0


def test_host_memory_that_the_machine_has_not_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before any of it is taken."""
    config = live.tiny_config()
    model = KaijuModel(config, random_state(config))
    limits = limits_with(token_budget=64, max_seqs=4)
    cache = KVCache(config, CachePlan(4, 8, 2, 20), "cpu")
    runner = Runner(model, cache, 64)
    monkeypatch.setattr(machine, "available_bytes", lambda: 1_000_000)

    def never(*parts: Any) -> None:
        raise AssertionError("it is taken")

    monkeypatch.setattr("calibrate.gpu.serve.opening.HostPool", never)
    with pytest.raises(UserError, match="host_memory: takes 0.9 GB, must be 0.0 GB at most"):
        open_engine(runner, limits, constant_curves(), FakeClock(), 4, host=Host(20_000, 5000))
    with pytest.raises(ValueError, match="100 bytes hold no block"):
        live.with_host(runner, limits, 100, Rates(1e9, 1e9))


def test_steps_that_cannot_be_captured_are_refused_before_anything_is_loaded() -> None:
    with pytest.raises(UserError, match=r"candidates: is 17, must be 16 at most"):
        live.check_steps(limits_with(candidates=17, chunk=4))
    with pytest.raises(UserError, match=r"max_seqs: is 600, must be 512 at most"):
        live.check_steps(limits_with(max_seqs=200, candidates=3, chunk=4))


def guide(folder: Path, text: str = GUIDE) -> Guide:
    file = folder / "guide.yaml"
    file.write_text(text)
    return read_guide(file)


def checkpoint(folder: Path, names: list[str] | None, heads: int = 2) -> Path:
    """Of a tiny model, with a classifier of so many heads."""
    config, file = live.tiny_config(), folder / "model.safetensors"
    state = random_state(config)
    if heads:
        state["classifier.weight"] = torch.full((heads, config.hidden), 0.5)
        state["classifier.bias"] = torch.zeros(heads)
    texts = {} if names is None else {"classifier.heads": json.dumps(names)}
    save_state(file, state, metadata=texts)
    return file


def test_a_checkpoints_classifier_judges(tmp_path: Path) -> None:
    config, file = live.tiny_config(), checkpoint(tmp_path, ["unsafe", "kind"])
    state = state_of(config, file)
    judged = Judged(guide(tmp_path), file)
    assert judged.guide.heads.names == ("unsafe", "kind")
    assert "2 heads" in str(judged)
    found = judged.head(KaijuModel(config, state), state).classifier
    assert found is not None
    metrics = found(torch.ones((1, config.hidden), dtype=torch.bfloat16))
    assert metrics.tolist() == [[1.0, 1.0]]
    assert [rule.head for rule in judged.guide.rules.thresholds] == ["unsafe"]


def test_checkpoints_that_cannot_judge_are_refused(tmp_path: Path) -> None:
    asked, config = guide(tmp_path), live.tiny_config()
    with pytest.raises(UserError, match="names no classifier heads"):
        Judged(asked, checkpoint(tmp_path, None))
    with pytest.raises(UserError, match=r"guide.yaml:2: .*no head 'unsafe'.*allowed: kind, b"):
        Judged(asked, checkpoint(tmp_path, ["kind", "b"]))
    with pytest.raises(UserError, match="heads: given more than once: kind"):
        Judged(asked, checkpoint(tmp_path, ["kind", "kind"]))
    names = ["kind", "unsafe"]
    for heads, words in ((3, r"classifier.weight: shape is \[3, 128\]"), (0, "has no classifier")):
        file = checkpoint(tmp_path, names, heads)
        judged, state = Judged(asked, file), state_of(config, file)
        with pytest.raises(UserError, match=words):
            judged.head(KaijuModel(config, state), state)


def test_without_a_checkpoint_heads_are_random_and_have_the_guides_names(tmp_path: Path) -> None:
    judged = Judged(guide(tmp_path, f"heads: [a, kind, unsafe]\n{GUIDE}"), None)
    assert "random" in str(judged)
    assert judged.guide.heads.names == ("a", "kind", "unsafe")
    model: Any = SimpleNamespace(config=live.tiny_config(), device=torch.device("cpu"))
    made = judged._classifier(model, {})
    assert made.heads == judged.guide.heads
    assert made.weight.shape == (3, model.config.hidden)
