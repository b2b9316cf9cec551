"""`python -m calibrate serve` as people start it: a tiny model, a stream over HTTP, SIGTERM."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch

from calibrate.gpu.serve.live import shapes_to_capture
from calibrate.shapes import StepShape
from kernels.model.steps.runner import DECODE_SHAPES, MOST_CHUNKS, shape_of
from kernels.model.steps.step import Chunk, DecodeRows, Step, padded_rows

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "calibrate", "serve"]


@pytest.mark.slow
def test_a_tiny_model_is_served_until_it_is_told_to_stop() -> None:
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    with subprocess.Popen(
        [*COMMAND, "--tiny", "--port", "0"], cwd=ROOT, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            body = json.dumps({"prompt": "5 7 9", "max_tokens": 2, "stream": True}).encode()
            with urllib.request.urlopen(f"{address}/v1/completions", body, timeout=60) as answer:
                events = answer.read().split(b"\n\n")
            process.send_signal(signal.SIGTERM)
            out, said = process.communicate(timeout=30)
        finally:
            process.kill()
    assert (process.returncode, out) == (0, "")
    assert events[-2:] == [b"data: [DONE]", b""]
    choices = [json.loads(event[6:])["choices"][0] for event in events[:-2]]
    assert sum(len(choice["token_ids"]) for choice in choices) == 2
    assert choices[-1]["finish_reason"] == "length"
    lines = said.splitlines()
    assert lines[0].endswith("opening a tiny model: weights, kernels, graphs")
    assert any("1 running" in line or "1 before that" in line for line in lines)
    assert lines[-1].endswith("stopped: nobody is inside, and no page is held")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so_in_a_line() -> None:
    done = subprocess.run(COMMAND, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: serving needs a CUDA device")


def step_of(shape: StepShape) -> Step:
    """As much of a step as its shape hangs on."""
    none = np.zeros((len(shape.decodes), 1), np.int32)
    rows = DecodeRows(none[:, 0], none[:, 0], none, none)
    table = np.zeros(1, np.int32)
    chunks = [Chunk(np.zeros(c.new, np.int32), c.cached, table, table) for c in shape.chunks]
    return Step(rows, chunks)


@pytest.mark.parametrize(("rows", "most"), [(2048, 256), (700, 90), (128, 8), (512, 512)])
def test_every_shape_that_is_served_is_captured_before(rows: int, most: int) -> None:
    shapes = [step_of(shape) for shape in shapes_to_capture(rows, most)]
    captured = {shape_of(step) for step in shapes}
    assert all(step.rows <= rows for step in shapes)
    heads = {padded_rows(step.samples) for step in shapes}
    draw = np.random.default_rng(1)
    for _ in range(500):
        decodes = int(draw.integers(0, most + 1))
        new = int(draw.integers(0, rows - decodes + 1))
        chunks = min(new, int(draw.integers(1, MOST_CHUNKS + 1)))
        sizes = [new - chunks + 1, *[1] * (chunks - 1)] if chunks else []
        table = np.zeros(1, np.int32)
        pieces = [Chunk(np.zeros(size, np.int32), 0, table, table) for size in sizes]
        if decodes + new:
            step = Step(step_of(StepShape((64,) * decodes)).decodes, pieces)
            assert shape_of(step) in captured
            assert padded_rows(step.samples) in heads
    assert len(captured) <= 25 * len(DECODE_SHAPES)
