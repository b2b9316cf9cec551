"""Completions over HTTP: at once and as events, what is wrong, who goes away, who finds no room."""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from serving_limits import constant_curves, limits_with

from calibrate.engine.clock import WallClock
from calibrate.engine.engine import Engine, Sizes
from calibrate.engine.executor import StepPlan
from calibrate.engine.memory.rings import reserve_pages
from calibrate.engine.requests import State
from calibrate.engine.server.http import Server

Client = Callable[..., Awaitable[tuple[int, bytes]]]


class Counting:
    """Says 1, 2, 3; each step takes two milliseconds."""

    def run(self, plan: StepPlan) -> list[int]:
        time.sleep(0.002)
        return [draw.made + 1 for _, draw in plan.draws]


def talk(story: Callable[[Client, Engine], Awaitable[None]], inside: int = 8, **rules: int) -> None:
    """A server on a free port, its engine in a thread; the story, then a clean shutdown."""
    limits = limits_with(**rules)
    sizes = Sizes(60, reserve_pages(limits), 128, inside)
    engine = Engine(limits, constant_curves(), sizes, Counting(), WallClock())
    serving = threading.Thread(target=engine.run)
    serving.start()

    async def whole() -> None:
        server = await Server(engine, "tiny", vocabulary=50).listen("127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]

        async def client(method: str, path: str, content: Any = None) -> tuple[int, bytes]:
            body = content if isinstance(content, bytes) else json.dumps(content).encode()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            head = f"{method} {path} HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            answer = await reader.read()
            writer.close()
            first, _, rest = answer.partition(b"\r\n\r\n")
            return int(first.split()[1]), rest

        client.port = port  # type: ignore[attr-defined]
        try:
            await asyncio.wait_for(story(client, engine), 20)
        finally:
            server.close()
            await server.wait_closed()

    try:
        asyncio.run(whole())
    finally:
        engine.door.close()
        serving.join(20)
    assert not serving.is_alive()
    engine.mirror.check()


def ask(count: int = 9, **fields: Any) -> dict[str, Any]:
    return {"prompt": list(range(count)), "max_tokens": 3, "temperature": 0} | fields


def test_an_answer_at_once_and_its_prompt_cached_the_second_time() -> None:
    async def story(client: Client, engine: Engine) -> None:
        for cached in (0, 8):
            status, body = await client("POST", "/v1/completions", ask())
            answer = json.loads(body)
            assert status == 200
            (choice,) = answer["choices"]
            assert choice["token_ids"] == [1, 2, 3]
            assert (choice["text"], choice["finish_reason"]) == ("1 2 3", "length")
            assert answer["usage"]["prompt_tokens_details"]["cached_tokens"] == cached
            assert answer["usage"]["total_tokens"] == 12

    talk(story)


def test_a_stream_of_events() -> None:
    async def story(client: Client, engine: Engine) -> None:
        fields = ask(stream=True, stop_token_ids=[4], max_tokens=9)
        fields["stream_options"] = {"include_usage": True}
        status, body = await client("POST", "/v1/completions?x=1", fields)
        events = [line.removeprefix(b"data: ") for line in body.split(b"\n\n") if line]
        assert status == 200
        assert events.pop() == b"[DONE]"
        parts = [json.loads(event) for event in events]
        assert parts.pop()["usage"]["completion_tokens"] == 4
        choices = [part["choices"][0] for part in parts]
        assert sum((choice["token_ids"] for choice in choices), []) == [1, 2, 3, 4]
        assert "".join(choice["text"] for choice in choices) == "1 2 3 4"
        reasons = [choice["finish_reason"] for choice in choices]
        assert reasons == [None] * (len(reasons) - 1) + ["stop"]
        assert len(parts) >= 3

    talk(story)


@pytest.mark.parametrize("prompt", ["0 1 2 3", [[0, 1, 2, 3]]])
def test_prompts_in_other_clothes(prompt: Any) -> None:
    """Ids in decimal, as `text` has them, and a batch of one."""

    async def story(client: Client, engine: Engine) -> None:
        status, body = await client("POST", "/v1/completions", ask(prompt=prompt))
        assert status == 200
        assert json.loads(body)["usage"]["prompt_tokens"] == 4

    talk(story)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"{", "JSON"),
        (ask(prompt="4 1e3"), "no tokenizer"),
        (ask(prompt="4 50"), "0 to 49"),
        (ask(prompt=[[1], [2]]), "list of token ids"),
        (b"[]", "object"),
        (ask(prompt="hello"), "prompt"),
        (ask(prompt=[1, True]), "prompt"),
        (ask(prompt=[50]), "0 to 49"),
        (ask(prompt=[]), "at least one"),
        (ask(max_tokens=0), "at least one"),
        (ask(max_tokens=1.5), "max_tokens"),
        (ask(temperature=-1), "temperature"),
        (ask(n=2), "n: must be 1"),
        (ask(count=40, prompt=list(range(40)) * 4), "context"),
    ],
)
def test_what_is_wrong_is_said(content: Any, word: str) -> None:
    async def story(client: Client, engine: Engine) -> None:
        status, body = await client("POST", "/v1/completions", content)
        assert status == 400
        assert word in json.loads(body)["error"]["message"]

    talk(story)


def test_other_places() -> None:
    async def story(client: Client, engine: Engine) -> None:
        assert (await client("GET", "/health"))[0] == 200
        assert json.loads((await client("GET", "/v1/models"))[1])["data"][0]["id"] == "tiny"
        assert (await client("GET", "/nothing"))[0] == 404
        engine.door.close()
        assert (await client("POST", "/v1/completions", ask()))[0] == 503

    talk(story)


def test_who_finds_no_room_is_told_when_to_come_again() -> None:
    """The whole answer, as it goes over the wire."""

    async def story(client: Any, engine: Engine) -> None:
        first = asyncio.create_task(client("POST", "/v1/completions", ask(max_tokens=60)))
        while not engine.running:
            await asyncio.sleep(0.002)
        body = json.dumps(ask()).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        head = f"POST /v1/completions HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        lines = (await reader.read()).split(b"\r\n")
        writer.close()
        assert lines[0] == b"HTTP/1.1 429 Too Many Requests"
        assert b"Retry-After: 1" in lines
        assert "which is all that are taken" in json.loads(lines[-1])["error"]["message"]
        assert (await first)[0] == 200

    talk(story, inside=1)


def test_a_stream_that_breaks_off_says_so() -> None:
    async def story(client: Client, engine: Engine) -> None:
        asked = ask(max_tokens=100, stream=True)
        stream = asyncio.create_task(client("POST", "/v1/completions", asked))
        while not engine.running or len(engine.running[0].answer.tokens) < 3:
            await asyncio.sleep(0.002)
        engine.door.cancel(engine.running[0].answer)
        status, body = await stream
        events = body.split(b"\n\n")
        assert status == 200
        assert events.pop() == b""
        assert "was cancelled" in json.loads(events[-1].removeprefix(b"data: "))["error"]["message"]

    talk(story)


def test_who_finds_no_room_is_told_to_come_again() -> None:
    async def story(client: Client, engine: Engine) -> None:
        asks = [client("POST", "/v1/completions", ask(max_tokens=40)) for _ in range(12)]
        found = [status for status, _ in await asyncio.gather(*asks)]
        assert sorted(set(found)) == [200, 429]
        assert found.count(200) < 12
        assert (await client("POST", "/v1/completions", ask()))[0] == 200

    talk(story, inside=2)
    talk(story, queue_limit=1, max_seqs=1)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_cancels_its_request(stream: bool) -> None:
    async def story(client: Any, engine: Engine) -> None:
        body = json.dumps(ask(max_tokens=100, stream=stream)).encode()
        _, writer = await asyncio.open_connection("127.0.0.1", client.port)
        head = f"POST /v1/completions HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        while not engine.running:
            await asyncio.sleep(0.002)
        answer = engine.running[0].answer
        writer.close()
        while answer.state is State.OPEN:
            await asyncio.sleep(0.002)
        assert answer.state is State.CANCELLED
        assert len(answer.tokens) < 100

    talk(story)
