"""What a training run costs, and what its tricks are worth."""

from dataclasses import replace
from pathlib import Path

import pytest
from economics_runs import SUMMARY, scenario, values

from kaiju_sim.economics import training
from kaiju_sim.economics.cost.bill import training_usd
from kaiju_sim.economics.cost.usage import usage_of
from kaiju_sim.economics.measured.training import BOTH, training_measured
from kaiju_sim.economics.sheet import sheet_of
from kaiju_sim.economics.training import NO_INT8, NO_SQUINCH, STATED, Run
from kaiju_sim.report.money.words import tables_of
from kaiju_sim.scenario.loader import load_scenario

HERE = scenario(pretraining={"gpus": 512})
USAGE = usage_of(HERE, SUMMARY)


def run(**changes: float) -> Run:
    described = HERE.economics.pretraining
    assert described is not None
    return training.run_of(USAGE, described, values(HERE, **changes))


def priced(of: Run, **changes: float) -> training.Priced:
    return training.priced(of, values(HERE, **changes), 1e9)


FREE = {"pretraining__checkpoint_pause_s": 0.0, "pretraining__checkpoints_kept": 0.0}


def test_without_network_int8_and_checkpoints_it_is_the_bill_s_line() -> None:
    plain = replace(run(), speedup=1.0, network_bytes_per_s=1e30)
    found = priced(plain, **FREE)
    assert found.usd == pytest.approx(training_usd(USAGE, values(HERE)))
    assert found.flops_utilisation == pytest.approx(values(HERE)["training.flops_utilisation"])
    assert found.waiting == 0.0
    assert found.usd_per_month * 12 == pytest.approx(found.usd)
    assert found.usd_per_message == pytest.approx(found.usd_per_month / 1e9)


def test_a_step_by_hand() -> None:
    of = Run(
        parameters=8e9, tokens=1e12, runs=1.0, months=12.0, share=1.0, gpus=16, node_gpus=8,
        peak_flops_per_s=1e15, utilisation=0.4, usd_per_gpu_hour=2.0, speedup=1.25,
        batch_tokens=1e6, gradient_bits=6.0, weight_bytes=1.0, network_bytes_per_s=1e8,
        overlap=0.5,
    )  # fmt: skip
    assert training.compute_s(of) == pytest.approx(6 * 8e9 * 1e6 / (16 * 1e15 * 0.4 * 1.25))
    assert training.sent_bytes(of) == (pytest.approx(0.375e9), pytest.approx(1e9))
    assert training.waiting_s(of) == pytest.approx(13.75 - 0.5 * 6.0)
    alone = replace(of, gpus=8)
    assert training.sent_bytes(alone) == (0.0, 0.0), "one node sends nothing"


def test_squinch_on_a_quarter_of_the_bandwidth() -> None:
    """2.67 times fewer bytes, 4 times slower: gradients take 1.5 times as long."""
    of = replace(run(), overlap=0.0)
    fast = replace(of, gradient_bits=16.0, network_bytes_per_s=4 * of.network_bytes_per_s)
    slow, quick = (training.sent_bytes(r)[0] / r.network_bytes_per_s for r in (of, fast))
    assert slow / quick == pytest.approx(1.5)
    assert training.waiting_s(replace(of, gradient_bits=16.0)) > training.waiting_s(of)


def test_tricks_are_taken_away_one_by_one() -> None:
    found = training.variants(run())
    assert list(found) == [STATED, NO_SQUINCH, NO_INT8, "neither"]
    base = priced(found[STATED], **FREE).usd
    hidden = {n: priced(replace(r, overlap=0.95), **FREE).usd for n, r in found.items()}
    assert hidden[NO_SQUINCH] == pytest.approx(hidden[STATED]), "what hides costs nothing"
    assert hidden[NO_INT8] == pytest.approx(1.25 * hidden[STATED])
    bare = {n: priced(replace(r, overlap=0.0), **FREE).usd for n, r in found.items()}
    assert base < bare[STATED] < bare[NO_SQUINCH] < bare["neither"]
    plain = scenario(pretraining={"forward": "bf16", "gradients": "bf16"}).economics.pretraining
    assert plain is not None
    assert list(training.variants(training.run_of(USAGE, plain, values(HERE)))) == [STATED]


def test_storage() -> None:
    kept = priced(run(), pretraining__distilled_tokens=1e11, pretraining__checkpoints_kept=10)
    price = values(HERE)["bill.storage_usd_per_gib_month"] * 12 / 2**30
    assert kept.distillation_usd == pytest.approx(1e11 * 64 * 4 * price)
    parameters = USAGE.training_flops_per_token / 6
    assert kept.checkpoints_usd == pytest.approx(12 * parameters * 10 * price)
    longer = priced(run(), pretraining__checkpoint_pause_s=360.0)
    assert longer.days == pytest.approx(priced(run(), **FREE).days * 1.1)


def test_the_sheet_has_it_where_the_scenario_does() -> None:
    sheet = sheet_of(HERE, SUMMARY, indices=False)
    assert list(sheet["pretraining"]) == [STATED, NO_SQUINCH, NO_INT8, "neither"]
    assert any(name.startswith("pretraining.") for name in sheet["assumptions"])
    (words,) = [t for t in tables_of(sheet) if t.title.startswith("What training costs")]
    assert [row[0] for row in words.rows] == list(sheet["pretraining"])
    assert "pretraining" not in sheet_of(scenario(), SUMMARY, indices=False)


@pytest.mark.parametrize(
    ("name", "left"), [("training", 4), ("no-squinch", 2), ("no-int8-training", 2)]
)
def test_break_its_are_overrides_of_a_shipped_scenario(name: str, left: int) -> None:
    file = Path(__file__).parents[2] / "scenarios" / "unit_economics.yaml"
    shipped = load_scenario(file, overrides=[name]).scenario
    found = sheet_of(shipped, SUMMARY, indices=False)["pretraining"]
    assert len(found) == left
    assert name == "training" or name not in found
    whole = sheet_of(load_scenario(file, overrides=["training"]).scenario, SUMMARY, indices=False)
    if name != "training":
        assert found[STATED] == pytest.approx(whole["pretraining"][name])


def test_a_run_with_measured_steps() -> None:
    described = HERE.economics.pretraining
    assert described is not None
    described = described.model_copy(update={"step": "measured"})
    stated, measured = run(), training.run_of(USAGE, described, values(HERE))
    found = training_measured()
    assert 1.2 < found.linear.speedup(BOTH) < 1.4
    assert measured.speedup == pytest.approx(found.layer.speedup(BOTH))
    assert 0.2 < measured.utilisation < 0.6
    gradients = stated.parameters / stated.node_gpus
    coded = gradients / found.pack_per_s + gradients / found.unpack_per_s
    assert training.coding_s(stated) == 0.0
    assert training.coding_s(measured) == pytest.approx(coded)
    assert training.coding_s(replace(measured, gradient_bits=16.0)) == 0.0
    slow, fast = priced(replace(measured, overlap=1.0)), priced(measured)
    waited = training.waiting_s(measured)
    assert fast.step_s == pytest.approx(training.compute_s(measured) + coded + waited)
    assert slow.step_s <= fast.step_s


def test_what_is_published_comes_from_the_samples(tmp_path: Path) -> None:
    publish = pytest.importorskip("benchmarks.training.publish")
    publish.publish(
        "h100-80gb-hbm3", publish.FILE.parents[3] / "benchmarks/results", tmp_path / "t"
    )
    assert (tmp_path / "t").read_text() == publish.FILE.read_text()
