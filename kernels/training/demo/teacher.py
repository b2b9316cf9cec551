"""A trained model as a teacher: the targets of every window that a student is trained on."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from kernels.training.demo.corpus import pack
from kernels.training.demo.train import Run, Say
from kernels.training.distill.store import Writer, row_bytes, saving
from kernels.training.distill.subsample import Targets, subsample

TEACHER_SEED = 0x7EAC


@torch.no_grad()
def teach(run: Run, folder: Path, k: int, say: Say | None = None) -> dict[str, Any]:
    """Write k tokens of the teacher's distribution for each byte of the corpus, in its order (held
    out windows too, which nobody reads: a row's number is its place). What that took."""
    size, corpus, vocab = run.options.sizes, run.corpus, run.config.vocab
    about = {"teacher": run.options.as_dict(), "corpus_sha256": corpus.sha256, "steps": run.step}
    writer = Writer(folder, k, vocab, about=about)
    run.model.eval()
    for first in range(0, corpus.windows, size.batch):
        windows = np.arange(first, min(first + size.batch, corpus.windows))
        tokens = corpus.batch(windows)[:, :-1].contiguous().to(run.device)
        logits = run.model(tokens, pack(tokens, run.config)).flatten(0, 1)
        row = first * size.context
        writer.add(_on_cpu(subsample(logits, k, TEACHER_SEED, first_row=row)))
        if say is not None and first // size.batch % 50 == 0:
            say(f"taught {first + len(windows)} of {corpus.windows} windows")
    writer.close()
    return {
        "rows": corpus.windows * size.context, "k": k, "bytes_a_row": row_bytes(k, vocab),
        "full_logits_bytes_a_row": 2 * vocab, "times_smaller": saving(k, vocab),
    }  # fmt: skip


def _on_cpu(targets: Targets) -> Targets:
    return Targets(targets.ids.cpu(), targets.weights.cpu())
