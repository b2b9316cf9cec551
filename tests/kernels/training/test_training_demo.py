"""The demo: it learns, resumes exactly, is served as it was trained, and teaches."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kernels.training.demo import __main__ as command
from kernels.training.demo import corpus
from kernels.training.demo.comparison.arms import ARMS
from kernels.training.demo.comparison.arms import PLAIN as NO_TRICKS
from kernels.training.demo.export import Served, agreement, export, read, state_of
from kernels.training.demo.model import Layer
from kernels.training.demo.options import Options, Tricks, model_config
from kernels.training.demo.teacher import teach
from kernels.training.demo.train import Run
from kernels.training.distill.store import Reader
from kernels.training.qat.quantise import quantise_rows

PLAIN = Options(steps=6, evaluate_every=3)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def trained() -> Run:
    run = Run(replace(PLAIN, steps=24, evaluate_every=24))
    run.train()
    return run


def test_it_learns(trained: Run) -> None:
    losses = [row["loss"] for row in trained.rows]
    assert losses[-1] < 0.75 * losses[0]
    assert trained.rows[-1]["held_out"] < 4.5
    assert trained.rows[0]["batch"] < trained.rows[-1]["batch"]
    assert Run(replace(PLAIN, warm_batches=False)).batches.at(0) == trained.rows[-1]["batch"]


@pytest.mark.parametrize(
    "tricks", [Tricks(), NO_TRICKS, Tricks(updates="ternary")], ids=["all", "none", "ternary"]
)
def test_a_resumed_run_is_the_same_to_the_bit(tmp_path: Path, tricks: Tricks) -> None:
    options = replace(PLAIN, tricks=tricks)
    whole = Run(options)
    whole.train()
    first = Run(options, folder=tmp_path)
    first.train(3)
    first.save()
    first.train(4)  # and what came after the checkpoint is lost
    again = Run.resumed(tmp_path)
    assert again.step == 3
    again.train()
    for mine, theirs in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    lines = (tmp_path / "curve.jsonl").read_text().splitlines()
    assert [json.loads(line)["loss"] for line in lines] == [r["loss"] for r in whole.rows]


def test_every_arm_runs_and_the_first_loss_is_about_the_same() -> None:
    """Before anything is learnt tricks change little: no graph is wrong by a factor."""
    losses = {}
    for arm, tricks in ARMS.items():
        run = Run(replace(PLAIN, steps=1, tricks=tricks))
        losses[arm] = run._one()["loss"]
    assert max(losses.values()) < 1.03 * min(losses.values()), losses


@pytest.mark.usefixtures("rounding")
def test_training_and_serving_agree(trained: Run, tmp_path: Path) -> None:
    path = export(trained.model, tmp_path)
    config, state = read(path)
    assert config == trained.config
    assert all(torch.equal(v, state[k]) for k, v in state_of(trained.model).items())
    (tmp_path / "other.safetensors").write_bytes(path.read_bytes()[:8] + b"x")
    with pytest.raises(ValueError, match="cannot be read"):
        read(tmp_path / "other.safetensors")
    if torch.cuda.is_available():
        pytest.skip("the trainee is on the CPU here; gpu/ has this")
    windows = trained.corpus.batch(trained.corpus.held_out[:1])[:, :-1]
    found = agreement(trained.model, Served(config, state), windows)
    assert found.positions == 64
    assert found.top_1 == 1.0
    assert found.distance < 1e-4, "all but a few logits have the same bits"


def test_the_served_model_generates(trained: Run) -> None:
    if torch.cuda.is_available():
        pytest.skip("the trainee is on the CPU here; gpu/ has this")
    served = Served(trained.config, state_of(trained.model))
    first, second = served.generate(b"The ", 2, temperature=0.0)
    prompt = np.frombuffer(b"The " + bytes([first]), np.uint8)
    logits = served.logits(prompt)
    assert [first, second] == logits[-2:].bfloat16().argmax(1).tolist()


def test_a_model_without_clamps_is_not_exported() -> None:
    run = Run(replace(PLAIN, tricks=Tricks(clamping="none")))
    with pytest.raises(ValueError, match="must be trained in int8, with clamping"):
        state_of(run.model)


def test_a_teacher_writes_targets_that_a_student_learns_from(
    trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = trained.corpus._replace(text=trained.corpus.text[: 64 * 40 + 1])
    monkeypatch.setattr(corpus, "load", lambda name, context: small)
    monkeypatch.setattr(trained, "corpus", small)
    told = teach(trained, tmp_path, 8)
    assert (told["rows"], told["times_smaller"]) == (64 * 40, 16.0)
    assert Reader(tmp_path).about["steps"] == 24
    student = Run(replace(PLAIN, targets=str(tmp_path)))
    rows = student.train()
    assert rows[-1]["loss"] < rows[0]["loss"]


def test_order_is_a_permutation_of_what_is_not_held_out() -> None:
    text = corpus.load("pydoc", 512)
    windows = corpus.order(text, 3, 0, text.trained)
    assert len(set(windows.tolist())) == text.trained
    assert not set(windows.tolist()) & set(text.held_out.tolist())
    assert set(windows.tolist()) | set(text.held_out.tolist()) == set(range(text.windows))
    parts = [corpus.order(text, 3, at, 7) for at in (text.trained - 3, text.trained + 4)]
    assert (np.concatenate(parts) == corpus.order(text, 3, text.trained - 3, 14)).all()
    with pytest.raises(ValueError, match="neither pydoc nor stdlib"):
        corpus.load("/no/such/file", 64)


def test_documents_in_a_window_do_not_see_each_other() -> None:
    tokens = torch.tensor([[5, 6, 0, 7, 8, 9]])
    config = model_config(Options())
    packed = corpus.pack(tokens, config)
    assert packed.positions.tolist() == [[0, 1, 2, 0, 1, 2]]
    mask = packed.blocks["global"].seen.dense()[0]
    assert mask.sum(1).tolist() == [1, 2, 3, 1, 2, 3]


def test_a_step_makes_the_int8_weights_anew() -> None:
    run = Run(replace(PLAIN, steps=1))
    layer = run.model.layers[0]
    assert isinstance(layer, Layer)
    before = run.model.rows(), layer.up.rows()
    assert layer.up.rows() is before[1]
    run.train()
    for old, new, weight in zip(
        before, (run.model.rows(), layer.up.rows()), (run.model.embedding, layer.up.weight),
        strict=True,
    ):  # fmt: skip
        assert not torch.equal(old.scale, new.scale)
        assert torch.equal(new.values, quantise_rows(weight.detach()).values)


def test_every_option_of_a_run_can_be_asked_for() -> None:
    words = ["train", "--size", "small", "--steps", "7", "--seed", "3", "--corpus", "stdlib",
             "--targets", "t", "--warm-batches", "no", "--evaluate-every", "2", "--forward", "int8",
             "--input-gradient", "int8", "--clamping", "weights", "--scalars", "no", "--z-weight",
             "0.5", "--gradients", "bf16", "--ranks", "4", "--stochastic", "yes", "--feedback",
             "yes", "--updates", "ternary", "--ternary-rate", "0.25"]  # fmt: skip
    found = command.chosen(command.options(words))
    tricks = Tricks(
        "int8", "int8", "weights", False, 0.5, "bf16", 4, True, True, "ternary", 0.25
    )  # fmt: skip
    assert found == Options("small", 7, 3, "stdlib", tricks, "t", False, 2)
    assert Options.of(found.as_dict()) == found
    assert command.chosen(command.options(["train"])) == Options()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "run")
    common = ["--out", folder, "--steps", "3", "--evaluate-every", "3", "--device", "cpu"]
    assert command.main(["train", *common, "--until", "2", "--ranks", "1"]) == 0
    assert command.main(["train", *common, "--resume"]) == 0
    assert "step 3/3" in capsys.readouterr().err
    assert (tmp_path / "run" / "curve.svg").read_text().startswith("<svg")
    assert command.main(["train", *common, "--clamping", "never"]) == 2
    assert "clamping: is 'never'" in capsys.readouterr().err
    assert command.main(["export", "--out", str(tmp_path / "none"), "--device", "cpu"]) == 2
