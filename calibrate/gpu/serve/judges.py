"""The classifier that judges candidates: a checkpoint's or a random one, and a guide's rules."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from calibrate.engine.served import guide as guides
from calibrate.gpu.serve.opening import Guide
from kaiju_sim.errors import UserError
from kernels.model.guided.classifier import Classifier, HeadNames, random_classifier
from kernels.model.guided.scoring import Penalty, Reward, Rules, Threshold
from kernels.model.head import Head
from kernels.model.model import KaijuModel
from kernels.model.state.load import StateError, load_metadata

NAMES = "classifier.heads"
"""A checkpoint's text that has the names of its classifier's outputs."""


class Judged:
    """A guide for one model: its heads are known before any weights are read."""

    def __init__(self, guide: guides.Guide, weights: Path | None) -> None:
        """UserError if the checkpoint's classifier has not the heads that rules name."""
        known = None if weights is None else checkpoint_heads(weights)
        self._weights = weights
        self.guide = Guide(
            rules_of(guide.said), HeadNames(guide.heads(known)), guide.said.when_all_filtered
        )

    def head(self, model: KaijuModel, state: Mapping[str, torch.Tensor]) -> Head:
        """A model's head with the classifier. UserError if it does not fit its names."""
        return Head(model, self._classifier(model, state).metrics)

    def _classifier(self, model: KaijuModel, state: Mapping[str, torch.Tensor]) -> Classifier:
        heads = self.guide.heads
        if self._weights is None:
            return random_classifier(heads, model.config.hidden, device=model.device)
        try:
            return Classifier(heads, state["classifier.weight"], state["classifier.bias"])
        except KeyError:
            raise UserError(f"--weights: {self._weights} has no classifier") from None
        except ValueError as error:
            raise UserError(f"--weights: {self._weights}: {error}") from error

    def __str__(self) -> str:
        """For the log: where the classifier comes from."""
        heads = self.guide.heads
        if self._weights is None:
            return f"random heads, whose probabilities mean nothing: {', '.join(heads)}"
        return f"the checkpoint's classifier, {len(heads)} heads"


def checkpoint_heads(weights: Path) -> tuple[str, ...]:
    """Names of a checkpoint's classifier. UserError if it has none."""
    try:
        text = load_metadata(weights).get(NAMES)
        names: Any = None if text is None else json.loads(text)
    except (StateError, OSError, ValueError) as error:
        raise UserError(f"--weights: {error}") from error
    if names is None:
        raise UserError(
            f"--weights: {weights} names no classifier heads ({NAMES}), candidates need them"
        )
    try:
        if not isinstance(names, list):
            raise ValueError(f"{NAMES}: must be a list of names")
        return HeadNames(names).names
    except (ValueError, TypeError) as error:
        raise UserError(f"--weights: {weights}: {error}") from error


def rules_of(said: guides.Said) -> Rules:
    """The rules as the kernels' search takes them."""
    return Rules(
        tuple(Threshold(**rule.model_dump()) for rule in said.thresholds),
        tuple(Penalty(**rule.model_dump()) for rule in said.penalties),
        tuple(Reward(**rule.model_dump()) for rule in said.rewards),
    )
