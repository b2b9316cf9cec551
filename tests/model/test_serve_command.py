"""`python -m calibrate serve` as people start it: a tiny model, a stream over HTTP, SIGTERM."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from serving_limits import limits_with

from calibrate.engine.executor import ChunkRows, Draw
from calibrate.gpu.serve.executor import pieces
from calibrate.gpu.serve.live import most_decodes, most_rows, shapes_to_capture
from calibrate.shapes import StepShape
from kernels.model.steps.runner import DECODE_SHAPES, MOST_CHUNKS, shape_of
from kernels.model.steps.step import Chunk, DecodeRows, Step, padded_rows

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "calibrate", "serve"]


class Tiny:
    """A tiny model behind `serve`, in a process of its own."""

    def __init__(self, *options: str) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, "--tiny", "--port", "0", *options], cwd=ROOT, text=True,
            env=os.environ | {"TRITON_INTERPRET": "1"}, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()

    def ask(self, **fields: Any) -> bytes:
        body, place = json.dumps(fields).encode(), f"{self.address}/v1/completions"
        with urllib.request.urlopen(place, body, timeout=60) as answer:
            return bytes(answer.read())

    def stop(self) -> list[str]:
        """What it has said on stderr by its end."""
        self.process.send_signal(signal.SIGTERM)
        out, said = self.process.communicate(timeout=30)
        assert (self.process.returncode, out) == (0, ""), said
        return said.splitlines()


@contextmanager
def tiny(*options: str) -> Iterator[Tiny]:
    server = Tiny(*options)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


@pytest.mark.slow
def test_a_tiny_model_is_served_until_it_is_told_to_stop() -> None:
    with tiny() as server:
        events = server.ask(prompt="5 7 9", max_tokens=2, stream=True).split(b"\n\n")
        lines = server.stop()
    assert events[-2:] == [b"data: [DONE]", b""]
    choices = [json.loads(event[6:])["choices"][0] for event in events[:-2]]
    assert sum(len(choice["token_ids"]) for choice in choices) == 2
    assert choices[-1]["finish_reason"] == "length"
    assert lines[0].endswith("opening a tiny model: weights, kernels, graphs")
    assert any("1 running" in line or "1 before that" in line for line in lines)
    assert lines[-1].endswith("stopped: nobody is inside, and no page is held")


@pytest.mark.slow
def test_who_comes_back_after_eviction_finds_host_memory() -> None:
    """HBM holds two blocks: another prompt takes both, and what it evicts comes back."""
    first, other = list(range(128)) + [5], list(range(127, -1, -1)) + [6]
    with tiny("--kv-memory", "1213kB", "--host-memory", "1MB") as server:
        answers = []
        for prompt in (first, other, first):
            fields: dict[str, Any] = {"prompt": prompt, "max_tokens": 1, "temperature": 0}
            answers.append(json.loads(server.ask(**fields)))
        time.sleep(1.1)  # a line of the gauge
        lines = server.stop()
    details = [answer["usage"]["prompt_tokens_details"] for answer in answers]
    assert [each["cached_tokens"] for each in details] == [0, 0, 128]
    assert answers[2]["choices"][0]["token_ids"] == answers[0]["choices"][0]["token_ids"]
    assert "host memory: 2 blocks, 13 windows; policy reckons with 10.0 GB/s in" in lines[1]
    assert any("host memory: hits 99%, blocks 50%" in line for line in lines)


GUIDE = """
heads: [kind, unsafe]
rewards: [{head: kind}]
thresholds: [{head: unsafe, above: 0.0}]
"""


@pytest.mark.slow
def test_candidates_are_judged_by_a_guide(tmp_path: Path) -> None:
    """One that lets nothing pass: the answer ends with the first chunk, and says so."""
    guide = tmp_path / "guide.yaml"
    guide.write_text(GUIDE)
    with tiny("--candidates", "2", "--guide", str(guide)) as server:
        answer = json.loads(server.ask(prompt="5 7 9", max_tokens=2, temperature=1.0))
        with pytest.raises(urllib.error.HTTPError) as refused:
            server.ask(prompt="5 7 9", max_tokens=2, temperature=0)
        lines = server.stop()
    (choice,) = answer["choices"]
    assert (len(choice["token_ids"]), choice["finish_reason"]) == (2, "content_filter")
    assert refused.value.code == 400
    assert b"greedy candidates are the same" in refused.value.read()
    assert lines[1].endswith(
        "judged by random heads, whose probabilities mean nothing: kind, unsafe"
    )


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


@pytest.mark.parametrize(("budget", "seqs", "count"), [(2048, 80, 3), (128, 4, 2), (512, 32, 16)])
def test_so_is_every_shape_with_candidates(budget: int, seqs: int, count: int) -> None:
    """Messages decode with some of their candidates, and prompts that end give a token for each."""
    limits = limits_with(token_budget=budget, max_seqs=seqs, candidates=count, chunk=16)
    rows = most_rows(limits)
    shapes = [step_of(shape) for shape in shapes_to_capture(rows, most_decodes(limits))]
    captured = {shape_of(step) for step in shapes}
    heads = {padded_rows(step.samples) for step in shapes}
    draw, table = np.random.default_rng(2), np.zeros(1, np.int32)
    for _ in range(300):
        messages = int(draw.integers(1, seqs + 1))
        filling = int(draw.integers(0, messages + 1))
        decodes = sum(int(draw.integers(1, count + 1)) for _ in range(messages - filling))
        filling = min(filling, budget - decodes)
        long = int(draw.integers(1, max(2, budget - decodes - filling + 1)))
        sizes = [long, *[1] * (filling - 1)] if filling > 0 else []
        ends = [ChunkRows(0, np.zeros(n, np.int32), 0, [Draw(1.0, 0, 0)] * count) for n in sizes]
        for at, piece in enumerate(pieces(ends, decodes)):
            some = [Chunk(c.tokens, 0, table, table, len(c.draws)) for c in piece]
            rest = step_of(StepShape((64,) * (0 if at else decodes))).decodes
            if piece or not at:
                step = Step(rest, some)
                assert shape_of(step) in captured
                assert padded_rows(step.samples) in heads
