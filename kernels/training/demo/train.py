"""The training loop, with checkpoints that a run goes on from as if it had never stopped.

Everything that a step depends on is in a checkpoint or follows from the options: weights, running
limits, the optimiser, how many steps and sequences are done. Data come in an order that the seed
decides, and nothing else is random. (Errors that Squinch feeds back are not kept: a run that is
resumed begins with none.)
"""

import json
import math
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kernels.model.state.files import renamed
from kernels.training.demo import corpus as text
from kernels.training.demo.gradients import Exchange, flat, put
from kernels.training.demo.model import Trainee, parameters
from kernels.training.demo.options import Options, model_config
from kernels.training.demo.updates import Updates
from kernels.training.distill.loss import distillation_loss
from kernels.training.distill.store import Reader
from kernels.training.distill.subsample import Targets
from kernels.training.steps.schedule import batch_warmup, learning_rate

CHECKPOINT, CURVE = "checkpoint.pt", "curve.jsonl"
EVALUATED = 8
"""Batches of held-out windows."""
Row = dict[str, Any]
Say = Callable[[str], None]


class Run:
    """A model in training. `folder` None: nothing is written."""

    def __init__(
        self, options: Options, device: torch.device | str = "cpu", folder: Path | None = None
    ) -> None:
        self.options, self.device, self.folder = options, torch.device(device), folder
        size = options.sizes
        self.config = model_config(options)
        self.corpus = text.load(options.corpus, size.context)
        torch.manual_seed(options.seed)
        self.model = Trainee(self.config, options.tricks).to(self.device)
        self.exchange = Exchange(options.tricks)
        self.updates = Updates(self.model, options.tricks, self.exchange, size.rate, options.seed)
        self.targets = Reader(options.targets) if options.targets else None
        self.step, self.sequences = 0, 0
        self.rows: list[Row] = []
        tokens = options.steps * size.batch * size.context
        first = max(self.exchange.ranks, size.batch // 4) if options.warm_batches else size.batch
        self.batches = batch_warmup(min(first, size.batch), size.batch, 0.1 * tokens)

    def train(self, until: int | None = None, say: Say | None = None) -> list[Row]:
        """Steps up to `until` (all of the options' by default); the curve so far."""
        last = min(until or self.options.steps, self.options.steps)
        while self.step < last:
            row = self._one()
            if self.step % self.options.evaluate_every == 0 or self.step == last:
                row["held_out"] = self.evaluate()
            self.rows.append(row)
            self._write(row)
            if say is not None:
                say(told(row, self.options.steps))
        return self.rows

    def _one(self) -> Row:
        began, size = time.perf_counter(), self.options.sizes
        seen = self.sequences * size.context
        count = self.batches.at(seen) // self.exchange.ranks * self.exchange.ranks
        windows = text.order(self.corpus, self.options.seed, self.sequences, count)
        found = [self._backward(windows[r :: self.exchange.ranks]) for r in self.exchange.here]
        gradients = self.exchange.mean([g for _, g in found])
        self._agree_on_limits()
        size_of = float(gradients.norm())
        rate = self._rate(seen)
        if math.isfinite(size_of):  # a step with NaN or infinity is left out, on every rank
            put(self.model, gradients / max(1.0, size_of))
            self.updates.step(rate)
        self.step, self.sequences = self.step + 1, self.sequences + count
        return {
            "step": self.step, "sequences": self.sequences, "batch": count, "rate": rate,
            "loss": self._mean_loss([loss for loss, _ in found]), "gradient": size_of,
            "seconds": time.perf_counter() - began, "held_out": None,
        }  # fmt: skip

    def _agree_on_limits(self) -> None:
        """Ranks see different values; the model is one."""
        if self.exchange.is_real:
            kept = [b for name, b in self.model.named_buffers() if name.endswith("spread")]
            for buffer, mean in zip(kept, self.exchange.agree(torch.cat(kept)), strict=True):
                buffer.fill_(mean)

    def _mean_loss(self, losses: list[float]) -> float:
        here = torch.tensor([sum(losses) / len(losses)], device=self.device)
        return float(self.exchange.agree(here))

    def _rate(self, seen: float) -> float:
        warmup = max(1, self.options.steps // 20)
        peak = self.options.sizes.rate * self.batches.rate(seen)
        return learning_rate(self.step, self.options.steps, peak, warmup=warmup)

    def _backward(
        self, windows: "np.ndarray[Any, np.dtype[np.int64]]"
    ) -> tuple[float, torch.Tensor]:
        """Loss and flat gradients of some windows."""
        self.model.train()
        batch = self.corpus.batch(windows).to(self.device)
        tokens = batch[:, :-1].contiguous()
        logits = self.model(tokens, text.pack(tokens, self.config)).flatten(0, 1)
        if self.targets is None:
            loss = torch.nn.functional.cross_entropy(logits.float(), batch[:, 1:].flatten())
        else:
            loss = distillation_loss(logits, self._targets(windows)).mean()
        loss.backward()
        return float(loss.detach()), flat(self.model)

    def _targets(self, windows: "np.ndarray[Any, np.dtype[np.int64]]") -> Targets:
        assert self.targets is not None
        context = self.options.sizes.context
        parts = [self.targets.read(int(w) * context, context) for w in windows]
        ids, weights = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return Targets(ids.to(self.device), weights.to(self.device))

    @torch.no_grad()
    def evaluate(self) -> float:
        """Mean loss, nats a byte, of held-out windows; always of the text itself."""
        self.model.eval()
        size, losses = self.options.sizes, []
        held = self.corpus.held_out[: EVALUATED * size.batch]
        for at in range(0, len(held), size.batch):
            batch = self.corpus.batch(held[at : at + size.batch]).to(self.device)
            tokens = batch[:, :-1].contiguous()
            logits = self.model(tokens, text.pack(tokens, self.config)).flatten(0, 1).float()
            each = torch.nn.functional.cross_entropy(
                logits, batch[:, 1:].flatten(), reduction="none"
            )
            losses.append(each)
        return float(torch.cat(losses).mean())

    def about(self) -> Row:
        """Where the curve comes from."""
        count = parameters(self.model)
        return {
            "options": self.options.as_dict(), "corpus_sha256": self.corpus.sha256,
            "parameters": count, "gradient_bytes_a_step": self.exchange.bytes_a_step(count),
            "update_bytes_a_step": self.updates.bytes_a_step,
            "ranks": self.exchange.ranks, "real_ranks": self.exchange.is_real,
            "device": device_name(self.device), "torch": str(torch.__version__),
        }  # fmt: skip

    # Files.

    def _write(self, row: Row) -> None:
        if self.folder is None or self.exchange.rank:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / CURVE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def save(self) -> None:
        """Write the checkpoint, whole or not at all. Every rank must call this."""
        if self.folder is None:
            return
        updates = self.updates.state()
        if self.exchange.rank:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "options": self.options.as_dict(), "model": self.model.state_dict(),
            "updates": updates, "step": self.step,
            "sequences": self.sequences, "rows": self.rows, "about": self.about(),
        }  # fmt: skip
        with renamed(self.folder / CHECKPOINT) as temporary:
            torch.save(state, temporary)

    @classmethod
    def resumed(cls, folder: Path, device: torch.device | str = "cpu") -> "Run":
        """A run as it was saved; the curve in its folder is cut to that step. Raises ValueError
        where there is none, or where the corpus is another."""
        found = loaded(folder, device)
        run = cls(Options.of(found["options"]), device, folder)
        if run.corpus.sha256 != found["about"]["corpus_sha256"]:
            raise ValueError(f"{folder}: was trained on another text (another Python?)")
        run.model.load_state_dict(found["model"])
        run.updates.load(found["updates"])
        run.step, run.sequences, run.rows = found["step"], found["sequences"], found["rows"]
        with renamed(folder / CURVE) as temporary:
            temporary.write_text("".join(json.dumps(r) + "\n" for r in run.rows), encoding="utf-8")
        return run


def loaded(folder: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """A checkpoint. Raises ValueError."""
    try:
        found = torch.load(folder / CHECKPOINT, map_location=device, weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise ValueError(f"{folder / CHECKPOINT}: cannot be read: {error}") from error
    return dict(found)


def told(row: Row, steps: int) -> str:
    """One line of progress."""
    held = "" if row["held_out"] is None else f"  held out {row['held_out']:.4f}"
    return (
        f"step {row['step']}/{steps}  loss {row['loss']:.4f}  rate {row['rate']:.2e}  "
        f"batch {row['batch']}  {1e3 * row['seconds']:.0f} ms{held}"
    )


def device_name(device: torch.device) -> str:
    """For people."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
