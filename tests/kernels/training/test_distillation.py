"""Subsampled soft targets: unbiased, stored and checked, and what a student learns from them."""

from pathlib import Path

import pytest
import torch

from kernels.training.distill import store
from kernels.training.distill.loss import distillation_loss, flops_and_bytes, reference
from kernels.training.distill.store import Reader, StoreError, Writer, saving
from kernels.training.distill.subsample import Targets, gumbel_keys, subsample

VOCAB = 40


def teacher(rows: int, vocab: int = VOCAB, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, vocab, generator=torch.Generator().manual_seed(seed)) * 2


def dense(targets: Targets, vocab: int = VOCAB) -> torch.Tensor:
    out = torch.zeros(len(targets.ids), vocab, dtype=torch.float64)
    ids = targets.ids.long().clamp(min=0)
    return out.scatter_add_(1, ids, targets.weights.double())


@pytest.mark.parametrize("k", [1, 2, 5])
def test_weights_have_the_expectation_of_the_distribution(k: int) -> None:
    """Of few tokens, all of which are drawn often: rare ones weigh much when they are."""
    row, draws = torch.linspace(0, 2.5, 8)[None], 30000
    found = dense(subsample(row.expand(draws, -1), k, seed=1), 8)
    spread = found.std(0) / draws**0.5
    assert ((found.mean(0) - row.double().softmax(1)[0]).abs() < 5 * spread + 1e-9).all()


def test_inclusion_is_as_likely_as_the_weights_say() -> None:
    row, draws = teacher(1), 8000
    targets = subsample(row.expand(draws, -1), 6, seed=2)
    p = row.softmax(1)[0]
    ids = targets.ids.long()
    assert (ids.sort(1).values.diff(dim=1) > 0).all(), "different tokens"
    claimed = (p[ids] / targets.weights).mean(0).sum()
    assert float(claimed) < 6.0, "likely ones are surely there, so fewer are drawn by chance"
    often = torch.bincount(ids.flatten(), minlength=VOCAB) / draws
    top = int(p.argmax())
    assert float(often[top]) > 0.8
    drawn = torch.where(ids == top, targets.weights, 0.0).sum(1)
    assert float(drawn.mean()) == pytest.approx(float(p[top]), rel=0.05)


def test_everything_is_the_distribution_itself() -> None:
    row = teacher(3)
    row[1, 5:] = float("-inf")
    targets = subsample(row, VOCAB, seed=0)
    torch.testing.assert_close(dense(targets), row.double().softmax(1), rtol=1e-5, atol=1e-9)
    assert (targets.ids[1] >= 0).sum() == 5
    few = subsample(row[1:2], 8, seed=0)
    assert dense(few)[0, 5:].sum() == 0
    torch.testing.assert_close(dense(few).sum(1), torch.ones(1).double(), rtol=1e-5, atol=0)


def test_noise_depends_on_the_row_of_the_corpus_alone() -> None:
    logits = teacher(10)
    whole = subsample(logits, 5, seed=3, first_row=1 << 33)
    parts = [subsample(logits[at : at + 5], 5, seed=3, first_row=(1 << 33) + at) for at in (0, 5)]
    assert torch.equal(whole.ids, torch.cat([p.ids for p in parts]))
    assert not torch.equal(whole.ids, subsample(logits, 5, seed=4, first_row=1 << 33).ids)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_noise_kernel_equals_the_reference(device: torch.device, dtype: torch.dtype) -> None:
    logits = teacher(2, 3001).to(dtype).to(device)
    rows = torch.tensor([5, (1 << 34) + 7], device=device)
    found = [gumbel_keys(logits, rows, 77 << 35, 1.5, by_torch=way) for way in (False, True)]
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)
    assert abs(float(found[0].mean()) - 0.577) < 0.1, "Gumbel noise about logits near 0"


@pytest.mark.parametrize("by_torch", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loss_and_its_gradient(
    device: torch.device, by_torch: bool, dtype: torch.dtype
) -> None:
    targets = subsample(teacher(6), 5, seed=0)
    targets = Targets(targets.ids.to(device), targets.weights.to(device))
    targets.ids[2, 3:], targets.weights[2, 3:] = -1, 0.0
    student = teacher(6, seed=9).to(dtype).to(device).requires_grad_()
    loss = distillation_loss(student, targets, by_torch=by_torch)
    exact = student.detach().double().requires_grad_()
    want = reference(exact, targets)
    torch.testing.assert_close(loss.double(), want, rtol=1e-5, atol=1e-5)
    g = torch.linspace(0.5, 2, 6, device=device)
    (got,) = torch.autograd.grad(loss, student, g)
    (wanted,) = torch.autograd.grad(want, exact, g.double())
    assert float((got.double() - wanted).norm() / wanted.norm()) < 0.006


def test_a_student_reaches_the_teacher_from_a_few_tokens_a_row() -> None:
    logits = torch.linspace(-1, 2, 12).double()[None]
    student = torch.zeros(1, 12, requires_grad=True)
    optimiser = torch.optim.SGD([student], 1.0)
    p = logits.softmax(1)

    def gap() -> float:
        return float((p * (p.log() - student.detach().double().log_softmax(1))).sum())

    before = gap()
    for step in range(120):
        optimiser.param_groups[0]["lr"] = 4.0 / (1 + step / 10)
        optimiser.zero_grad()
        targets = subsample(logits.float().expand(32, -1), 3, seed=0, first_row=32 * step)
        distillation_loss(student.expand(32, -1), targets).mean().backward()
        optimiser.step()
    assert 0 <= gap() < 0.02 * before


def written(folder: Path, vocab: int = VOCAB) -> Targets:
    targets = subsample(teacher(25, vocab), 6, seed=1)
    writer = Writer(folder, 6, vocab, rows_per_shard=10, about={"teacher": "random"})
    for part in (slice(0, 3), slice(3, 19), slice(19, 25)):
        writer.add(Targets(targets.ids[part], targets.weights[part]))
    writer.close()
    return targets


@pytest.mark.parametrize("vocab", [VOCAB, 70000])
def test_what_is_written_is_read(tmp_path: Path, vocab: int) -> None:
    targets = written(tmp_path, vocab)
    reader = Reader(tmp_path)
    assert (reader.rows, reader.k, reader.about) == (25, 6, {"teacher": "random"})
    assert len(reader.shards) == 3
    for first, count in ((0, 25), (8, 5), (24, 1), (4, 0)):
        got = reader.read(first, count)
        assert torch.equal(got.ids, targets.ids[first : first + count])
        want = targets.weights[first : first + count]
        torch.testing.assert_close(got.weights, want, rtol=4e-4, atol=0)
    size = sum((tmp_path / s.file).stat().st_size for s in reader.shards)
    assert size - 25 * store.row_bytes(6, vocab) < 3 * 64
    with pytest.raises(ValueError, match="rows: 20 to 26"):
        reader.read(20, 6)


def test_storage_beside_all_logits() -> None:
    assert saving(64, 65536) == 512
    assert saving(32, 65536) == 1024
    assert saving(64, 114688) == pytest.approx(597, abs=1)


def test_damage_is_found(tmp_path: Path) -> None:
    written(tmp_path)
    path = tmp_path / "targets-00001.bin"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)
    reader = Reader(tmp_path)
    reader.read(0, 10)
    with pytest.raises(StoreError, match="targets-00001.bin: SHA-256 is not that"):
        reader.read(9, 2)
    path.unlink()
    with pytest.raises(StoreError, match="cannot be read"):
        Reader(tmp_path).read(12, 1)
    with pytest.raises(StoreError, match=r"has a manifest.json already"):
        Writer(tmp_path, 6, VOCAB)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(StoreError, match="must be an object with"):
        Reader(tmp_path)
    with pytest.raises(StoreError, match="cannot be read as a manifest"):
        Reader(tmp_path / "none")


def test_work() -> None:
    assert flops_and_bytes(10, 100, 4).bytes == 10 * (600 + 64)


BAD = {
    "k: is 41": lambda: subsample(teacher(2), 41, 0),
    "logits: dtype is": lambda: subsample(teacher(2).half(), 4, 0),
    "temperature: is 0": lambda: subsample(teacher(2), 4, 0, temperature=0),
    "ids: shape is": lambda: distillation_loss(teacher(3), subsample(teacher(2), 4, 0)),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_arguments_are_named(message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BAD[message]()
