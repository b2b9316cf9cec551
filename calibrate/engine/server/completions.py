"""The shape of OpenAI completions, with token ids in place of text.

`prompt` is a list of token ids, or a string of them in decimal, with spaces between. Each choice
has `token_ids`, and as `text` such a string, so that load generators that only look at text see it
grow.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from calibrate.engine.memory.pages import Piece
from calibrate.engine.requests import Answer, Request


class BadRequest(Exception):  # noqa: N818 (the name that HTTP gives it)
    """A body that is no completion request; the message says where and why."""


@dataclass(frozen=True)
class Ask:
    """A body that was understood."""

    request: Request
    """Its path is still to be named."""
    is_stream: bool
    with_usage: bool
    """Whether a stream ends with the counts of tokens."""


def parse(body: bytes, vocabulary: int) -> Ask:
    """Reads a body; BadRequest where it is wrong. Fields that are not known are passed over."""
    try:
        fields = json.loads(body)
    except ValueError as error:
        raise BadRequest(f"body: is not JSON ({error})") from error
    if not isinstance(fields, dict):
        raise BadRequest("body: must be an object")
    if fields.get("n", 1) != 1:
        raise BadRequest("n: must be 1")
    tokens = _ids({"prompt": _prompt(fields.get("prompt"))}, "prompt", vocabulary)
    stops = _ids(fields, "stop_token_ids", vocabulary) if "stop_token_ids" in fields else []
    request = Request(
        np.array(tokens, np.int32),
        int(_number(fields, "max_tokens", 16, whole=True)),
        stops=frozenset(stops),
        temperature=float(_number(fields, "temperature", 1.0)),
        seed=int(_number(fields, "seed", 0, whole=True)),
    )
    options = fields.get("stream_options") or {}
    return Ask(request, fields.get("stream") is True, options.get("include_usage") is True)


def named(request: Request, path: tuple[Piece, ...]) -> Request:
    """The request with names for its blocks."""
    return Request(
        request.tokens, request.most, path, request.stops, request.temperature, request.seed
    )


def _prompt(value: Any) -> Any:
    """The prompt as a list, if it is one in other clothes: text, or the only one of a batch."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], list):
        return value[0]
    if not isinstance(value, str):
        return value
    words = value.split()
    if not all(word.isascii() and word.isdigit() and len(word) < 10 for word in words):
        raise BadRequest(
            "prompt: must be a list of token ids, or a string of them in decimal; there is no "
            "tokenizer here"
        )
    return [int(word) for word in words]


def _ids(fields: dict[str, Any], name: str, vocabulary: int) -> list[int]:
    value = fields.get(name)
    if not isinstance(value, list) or any(type(token) is not int for token in value):
        raise BadRequest(f"{name}: must be a list of token ids")
    if any(not 0 <= token < vocabulary for token in value):
        raise BadRequest(f"{name}: token ids must be from 0 to {vocabulary - 1}")
    return value


def _number(fields: dict[str, Any], name: str, default: float, *, whole: bool = False) -> float:
    value = fields.get(name, default)
    if value is None:
        value = default
    kinds = (int,) if whole else (int, float)
    if type(value) not in kinds or not 0 <= value < 2**31:
        raise BadRequest(f"{name}: must be a {'whole ' if whole else ''}number from 0 on")
    return float(value)


def chunk_of(
    answer: Answer, tokens: Sequence[int], model: str, *, at: int = 0, over: bool
) -> dict[str, Any]:
    """Tokens of an answer from place `at` on; all of it, or a piece of a stream."""
    text = "".join(f" {token}" for token in tokens)
    choice = {
        "index": 0,
        "text": text if at else text[1:],
        "token_ids": list(tokens),
        "logprobs": None,
        "finish_reason": reason_of(answer) if over else None,
    }
    name = f"cmpl-{answer.number}"
    return {"id": name, "object": "text_completion", "model": model, "choices": [choice]}


def reason_of(answer: Answer) -> str:
    """Why it ended."""
    if answer.flagged:
        return "content_filter"
    return "stop" if answer.tokens and answer.tokens[-1] in answer.request.stops else "length"


def usage_of(answer: Answer) -> dict[str, Any]:
    """Tokens of a request, and those of its prompt that were found in the cache."""
    prompt, made = len(answer.request.tokens), len(answer.tokens)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": made,
        "total_tokens": prompt + made,
        "prompt_tokens_details": {"cached_tokens": answer.cached},
    }
