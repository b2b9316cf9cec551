"""Named heads: what they compute, what random ones are like, and what is refused."""

import re

import pytest
import torch

from kernels.model.guided.classifier import (
    Classifier,
    HeadNames,
    numbered_heads,
    random_classifier,
)


def test_every_row_has_a_probability_of_every_head() -> None:
    weight = torch.tensor([[1.0, 0.0, -2.0], [0.5, 0.5, 0.5]])
    head = Classifier(HeadNames(["a", "b"]), weight, torch.tensor([0.25, -1.0]))
    state = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    want = torch.sigmoid(torch.tensor([[1 - 6 + 0.25, 3 - 1], [0.25, -1.0]]))
    torch.testing.assert_close(head.metrics(state), want)
    torch.testing.assert_close(head.metrics(state.bfloat16()), want)
    torch.testing.assert_close(head.logits(state).sigmoid(), want)


def test_the_metrics_of_a_row_do_not_depend_on_the_others() -> None:
    head = random_classifier(numbered_heads(135), 256)
    state = torch.randn((48, 256), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(head.metrics(state)[17:18], head.metrics(state[17:18]))


def test_random_heads_are_sane() -> None:
    head = random_classifier(numbered_heads(135), 512, seed=3)
    state = torch.randn((2000, 512), generator=torch.Generator().manual_seed(2))
    p = head.metrics(state)
    assert p.shape == (2000, 135)
    assert 0.08 < float(p.mean()) < 0.3  # most properties are rare
    assert float(p.min()) > 1e-5
    assert float(p.max()) < 1 - 1e-5
    assert 0.8 < float(head.logits(state).std(0).mean()) < 1.2
    assert float(p.std(0).min()) > 1e-3  # none is stuck


def test_random_heads_follow_from_the_seed() -> None:
    a, b, c = (random_classifier(numbered_heads(5), 64, seed) for seed in (1, 1, 2))
    assert torch.equal(a.weight, b.weight)
    assert torch.equal(a.bias, b.bias)
    assert not torch.equal(a.weight, c.weight)


def test_names_have_columns() -> None:
    names = HeadNames(iter(["a", "b", "c"]))
    assert (names.index("c"), len(names), list(names)) == (2, 3, ["a", "b", "c"])
    assert names == HeadNames(["a", "b", "c"])
    assert names != HeadNames(["b", "a", "c"])
    assert hash(names) == hash(HeadNames(["a", "b", "c"]))


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["a", "b", "a", "b"], "heads: given more than once: a, b"),
        ([], "heads: must be one or more names"),
        (["a", ""], "heads: must be one or more names, none of them empty"),
        ([1], "heads: must be one or more names"),
    ],
)
def test_bad_names_are_told(names: list[str], says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        HeadNames(names)


def test_a_missing_head_is_told_with_the_nearest_name() -> None:
    names = HeadNames(["annotations_racist", "repetitive"])
    says = "thresholds: the classifier has no head 'annotations_racism' (it has 2); did you mean"
    with pytest.raises(ValueError, match=re.escape(says + " 'annotations_racist'?")):
        names.index("annotations_racism", "thresholds")
    with pytest.raises(ValueError, match=r"no head 'xyz' \(it has 2\)$"):
        names.index("xyz")


@pytest.mark.parametrize(
    ("weight", "bias", "says"),
    [
        (torch.zeros((3, 4)), torch.zeros(2), "classifier.weight: shape is [3, 4], must be [2"),
        (torch.zeros((2, 4)), torch.zeros(3), "classifier.bias: shape is [3], must be [2]"),
        (torch.zeros((2, 4)).half(), torch.zeros(2), "classifier.weight: dtype is torch.float16"),
    ],
)
def test_weights_must_fit_the_names(weight: torch.Tensor, bias: torch.Tensor, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        Classifier(HeadNames(["a", "b"]), weight, bias)


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (torch.zeros((3, 63)), "state: shape is [3, 63], must be [any, 64]"),
        (torch.zeros((3, 64), dtype=torch.int8), "state: dtype is torch.int8"),
    ],
)
def test_the_state_must_fit(state: torch.Tensor, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        random_classifier(numbered_heads(2), 64).metrics(state)


def test_a_state_has_channels() -> None:
    with pytest.raises(ValueError, match="hidden: is 0, must be at least 1"):
        random_classifier(numbered_heads(2), 0)
