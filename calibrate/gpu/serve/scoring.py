"""Judges the serving engine's candidates by the classifier of the model that decoded them."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from calibrate.engine.beams import Choice
from kernels.model.guided.beam import SearchOptions, WhenAllFiltered, choose
from kernels.model.guided.classifier import HeadNames
from kernels.model.guided.scoring import Judge, Rules


class Metered(Protocol):
    """What ran a step: `calibrate.gpu.serve.executor.ModelExecutor`."""

    metrics: NDArray[np.float32] | None
    """`[tokens, heads]` of the step that ran last."""


class GuidedScorer:
    """`calibrate.engine.beams.Scorer` by `kernels.model.guided`: the same rules, the same choice as
    in the model's own search. Marks are rows of metrics."""

    def __init__(
        self, executor: Metered, rules: Rules, heads: HeadNames,
        when_all_filtered: WhenAllFiltered = "flag",
    ) -> None:  # fmt: skip
        """`heads`: names of the executor's metrics. ValueError if a rule names another."""
        self._executor, self._judge = executor, Judge(rules, heads)
        self._options = SearchOptions(when_all_filtered=when_all_filtered)

    def marks(self, rows: Sequence[int]) -> list[NDArray[np.float32]]:
        """As `Scorer.marks`. ValueError if the model has no classifier."""
        metrics = self._executor.metrics
        if metrics is None:
            raise ValueError("candidates: the model's head has no classifier")
        return list(metrics[list(rows)])

    def choose(self, groups: Sequence[Sequence[NDArray[np.float32]]]) -> list[Choice]:
        """As `Scorer.choose`. ValueError if metrics are no probabilities."""
        marks = np.stack([mark for group in groups for mark in group])
        verdict = self._judge.verdict(torch.from_numpy(marks))
        choices, at = [], 0
        for group in groups:
            choice = choose(verdict, range(at, at + len(group)), self._options)
            choices.append(Choice(choice.winner, all(choice.broken)))
            at += len(group)
        return choices
