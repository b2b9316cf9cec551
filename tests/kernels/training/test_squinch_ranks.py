"""Compressed reductions and the hooks of DDP and FSDP, on two CPU processes over gloo."""

import pytest
import squinch_ranks as two
import torch

Found = list[dict[str, torch.Tensor]]
MEAN = (two.gradients(0) + two.gradients(1)).double() / 2


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    return two.run(tmp_path_factory.mktemp("ranks"))


def distance(got: torch.Tensor, want: torch.Tensor) -> float:
    return float((got.double() - want).norm() / want.norm())


@pytest.mark.parametrize("what", ["all", "bf16", "noise", "ddp"])
def test_all_ranks_have_the_same_bits(found: Found, what: str) -> None:
    assert torch.equal(found[0][what], found[1][what])


def test_an_all_reduce_is_the_mean_but_for_two_roundings(found: Found) -> None:
    assert 0.03 < distance(found[0]["all"], MEAN) < 0.09
    assert 0.03 < distance(found[0]["bf16"], MEAN) < 0.09
    assert 0.03 < distance(found[0]["noise"], MEAN) < 0.2


def test_a_rehearsal_in_one_process_gives_the_same_bits(found: Found) -> None:
    from kernels.training.squinch.exchange import Options, Rehearsal

    parts = [two.gradients(0), two.gradients(1)]
    for what, options in (("all", Options()), ("noise", Options(stochastic=True))):
        assert torch.equal(Rehearsal(2, options).all_reduce(parts), found[0][what])
    rehearsal = Rehearsal(2, Options(feedback=True))
    many = torch.stack([rehearsal.all_reduce(parts).double() for _ in range(16)])
    assert torch.equal(many.mean(0), found[0]["feedback"])


def test_a_reduce_scatter_rounds_once_and_sends_six_bits(found: Found) -> None:
    got = torch.cat([each["share"] for each in found])
    assert 0.03 < distance(got, MEAN) < 0.06
    assert torch.equal(got, torch.cat([each["fsdp hook"] for each in found]))
    assert int(found[0]["sent"]) == 2 * 4096 * 6 // 8, "the other rank's 4500, in whole tiles"


def test_what_was_lost_comes_later_with_feedback(found: Found) -> None:
    assert distance(found[0]["feedback"], MEAN) < 0.3 * distance(found[0]["all"], MEAN)


@pytest.mark.parametrize(("hook", "most"), [("ddp", 0.09), ("fsdp", 0.06)])
def test_gradients_of_a_network_are_the_mean(found: Found, hook: str, most: float) -> None:
    model = two.network()
    for rank in range(two.RANKS):
        (two.loss_of(model, rank) / two.RANKS).backward()
    want = torch.cat([two.whole(p).flatten() for p in model.parameters()])
    assert 0.01 < distance(found[0][hook], want.double()) < most


def test_feedback_is_refused_where_gradients_have_no_name() -> None:
    from kernels.training.squinch.exchange import Options
    from kernels.training.squinch.hooks import ReduceScatter

    with pytest.raises(ValueError, match="feedback: must be off with FSDP"):
        ReduceScatter(Options(feedback=True))
    with pytest.raises(ValueError, match="op: is"):
        ReduceScatter()(torch.zeros(1), torch.zeros(2), None, torch.distributed.ReduceOp.MAX)


@pytest.mark.gpu
def test_two_gpus_over_nccl_find_the_same(
    found: Found, tmp_path_factory: pytest.TempPathFactory
) -> None:
    if torch.cuda.device_count() < two.RANKS:
        pytest.skip("one GPU")
    there = two.run(tmp_path_factory.mktemp("nccl"), "cuda")
    for what, want in found[0].items():
        assert distance(there[0][what].float(), want.double()) < 0.02, what
    for what in ("all", "bf16", "noise", "ddp"):
        assert torch.equal(there[0][what], there[1][what])
