"""How exact int8 attention is, end to end: `python -m benchmarks.kernels --accuracy`.

Real-valued q, K and V of several patterns are quantised as the model would do it and attended to by
our operators; the error is against float64 attention of the real values. Beside it stand the error
of quantising alone (`int8 values`, with exact probabilities) and of the scheme that quantises
probabilities against the running maximum (`naive`), which a dominant token breaks.
"""

import re
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from benchmarks.kernels import store
from benchmarks.kernels.store import OURS, Row

CONTEXTS = (128, 512, 2048, 8192, 32768)
HEADS, QUERIES = 64, 8
OPERATORS = ("decode_attention", "prefill_attention")


def report(device: str, only: str, say: Callable[[str], None]) -> Iterator[Row]:
    """Every pattern at every context, with each operator and scheme."""
    from benchmarks.kernels.accuracy import patterns, schemes

    for name, pattern in patterns.PATTERNS.items():
        for context in CONTEXTS:
            for operator in OPERATORS:
                if not re.search(only, f"{operator} {name} {context}"):
                    continue
                real = pattern(context, QUERIES, HEADS, device)
                limits = schemes.limits_of(operator, context, QUERIES, device)
                errors = schemes.errors(operator, real, limits)
                say(f"{operator} {name} {context}: {errors[OURS][0]:.4f}")
                for scheme, (error, worst) in errors.items():
                    yield {
                        "operator": operator,
                        "context": context,
                        "pattern": name,
                        "scheme": scheme,
                        "relative_error": error,
                        "relative_error_worst": worst,
                        "heads": HEADS,
                        "queries": QUERIES,
                    }


def measure(options: Namespace, say: Callable[[str], None]) -> int:
    """Measure on the GPU, or interpreted on the CPU; save and show."""
    import torch

    from benchmarks.kernels.gpu import command, commit, described, slug
    from benchmarks.kernels.report.tables import accuracy_table

    has_gpu = torch.cuda.is_available()
    about = described() if has_gpu else {"gpu": "cpu"}
    begun = datetime.now(UTC).isoformat(timespec="seconds")
    rows = list(report("cuda" if has_gpu else "cpu", options.only or "", say))
    how = {"commit": options.commit or commit(), "command": command(sys.argv[1:])}
    run = {"run": begun} | how | about
    store.save_accuracy(slug(about["gpu"]), rows, run, options.results)
    sys.stdout.write(accuracy_table(rows))
    return 0
