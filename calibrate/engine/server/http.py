"""A small HTTP server around an engine that runs in another thread.

`POST /v1/completions`, `GET /v1/models`, `GET /health`; a connection serves one request. A client
that goes away cancels its request. Who finds no room gets 429 at once, with `Retry-After`.
"""

import asyncio
import json
from collections import deque
from typing import Any

import numpy as np

from calibrate.engine.engine import Engine
from calibrate.engine.requests import Answer, ClosedError, FullError, RefusedError, State
from calibrate.engine.server.completions import BadRequest, chunk_of, named, parse, usage_of
from calibrate.engine.server.names import Namer

MOST_BODY = 4_000_000
LAST_S = 5.0
"""For connections to say that their requests were cancelled."""
REASONS = {
    200: "OK", 400: "Bad Request", 404: "Not Found", 413: "Content Too Large",
    429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable",
}  # fmt: skip


class Problem(Exception):  # noqa: N818 (an answer, not an error of ours)
    """An answer that is no completion."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Server:
    """Answers for one engine, whose `run` the caller keeps going in a thread."""

    def __init__(self, engine: Engine, model: str, vocabulary: int) -> None:
        limits = engine.world.engine.limits
        self.engine, self.model, self.vocabulary = engine, model, vocabulary
        self._namer = Namer(1 << limits.shift, limits.stride)
        self._bell = Bell()
        self._tasks: set[asyncio.Task[None]] = set()
        """Of connections."""
        self._answers: set[Answer] = set()
        """Those that somebody waits for."""

    async def listen(self, host: str, port: int) -> asyncio.Server:
        """Begin; port 0 takes a free one."""
        return await asyncio.start_server(self._connected, host, port)

    async def finish(self, seconds: float) -> None:
        """Wait so long for connections to end by themselves; then cancel their requests, which
        they are told; then end them."""
        await self._wait(seconds)
        for answer in self._answers:
            self.engine.door.cancel(answer)
        await self._wait(LAST_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _wait(self, seconds: float) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            try:
                await self._respond(reader, writer)
            except Problem as problem:
                error = {"message": str(problem), "code": problem.status}
                await _send(writer, problem.status, {"error": error})
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has gone, or we go
        finally:
            writer.close()

    async def _respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, path, body = await _read(reader)
        if (method, path) == ("GET", "/health"):
            await _send(writer, 200, {"status": "ok"})
        elif (method, path) == ("GET", "/v1/models"):
            models = [{"id": self.model, "object": "model"}]
            await _send(writer, 200, {"object": "list", "data": models})
        elif (method, path) == ("POST", "/v1/completions"):
            await self._complete(body, reader, writer)
        else:
            raise Problem(404, f"there is no {method} {path} here")

    async def _complete(
        self, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            ask = parse(body, self.vocabulary)
        except BadRequest as error:
            raise Problem(400, str(error)) from error
        names = self._namer.name(ask.request.tokens)
        answer, news = None, _News(self._bell)
        try:
            answer = self._submit(named(ask.request, names.path), news)
            self._answers.add(answer)
            if ask.is_stream:
                await self._stream(answer, news, reader, writer, with_usage=ask.with_usage)
            else:
                await self._whole(answer, news, reader, writer)
        finally:
            # looked at first: whoever is not done may have more tokens in the cache than are seen
            whole = answer is None or (answer.state is State.DONE and not answer.flagged)
            made = [] if answer is None else answer.tokens[:-1]
            if answer is not None:
                self._answers.discard(answer)
                if answer.state is State.OPEN:
                    self.engine.door.cancel(answer)
            text = np.concatenate([ask.request.tokens, np.array(made, np.int32)])
            self._namer.learn(names, text, whole=whole)

    def _submit(self, request: Any, news: "_News") -> Answer:
        try:
            return self.engine.door.submit(request, news.tell)
        except FullError as error:
            raise Problem(429, str(error)) from error
        except ClosedError as error:
            raise Problem(503, str(error)) from error
        except RefusedError as error:
            raise Problem(400, str(error)) from error

    async def _whole(
        self, answer: Answer, news: "_News", reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:  # fmt: skip
        while answer.state is State.OPEN:
            await news.wait(reader)
        _check(answer)
        whole = chunk_of(answer, answer.tokens, self.model, over=True)
        await _send(writer, 200, whole | {"usage": usage_of(answer)})

    async def _stream(
        self, answer: Answer, news: "_News", reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter, *, with_usage: bool,
    ) -> None:  # fmt: skip
        """Server-sent events: tokens as they come. Nothing is sent before there is one, so that who
        is shed gets a status of its own; what fails after that ends in an event that says so."""
        at, over = 0, False
        while not over:
            await news.wait(reader)
            over = answer.state is not State.OPEN
            tokens = answer.tokens[at:]
            if over and at == 0:
                _check(answer)
            if over and answer.state is not State.DONE:
                _event(writer, {"error": _failed(answer)})
                await writer.drain()
                return
            if at == 0:
                writer.write(_head(200, "text/event-stream"))
            if tokens or over:
                _event(writer, chunk_of(answer, tokens, self.model, at=at, over=over))
            at += len(tokens)
            await writer.drain()
        if with_usage:
            last = chunk_of(answer, [], self.model, over=True)
            _event(writer, last | {"choices": [], "usage": usage_of(answer)})
        writer.write(b"data: [DONE]\n\n")
        await writer.drain()


class Bell:
    """Wakes coroutines from the engine's thread. Waking a loop costs a write to a pipe, so it is
    woken once for all who have something new by then: mostly once a step."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Event] = deque()
        self._is_rung = False

    def ring(self, loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> None:
        """Set that event, soon. Called in the engine's thread."""
        self._waiting.append(event)
        if not self._is_rung and not loop.is_closed():
            self._is_rung = True
            loop.call_soon_threadsafe(self._set)

    def _set(self) -> None:
        self._is_rung = False  # first: what is added from now on rings anew
        while self._waiting:
            self._waiting.popleft().set()


class _News:
    """Wakes one coroutine when the engine's thread has something for it."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell
        self._loop, self._event = asyncio.get_running_loop(), asyncio.Event()

    def tell(self, answer: Answer) -> None:
        """Called in the engine's thread."""
        self._bell.ring(self._loop, self._event)

    async def wait(self, reader: asyncio.StreamReader) -> None:
        """Until there is something. ConnectionError when the client has gone."""
        told = asyncio.ensure_future(self._event.wait())
        gone = asyncio.ensure_future(reader.read(1))
        try:
            await asyncio.wait((told, gone), return_when=asyncio.FIRST_COMPLETED)
            if gone.done() and not told.done():
                raise ConnectionResetError("the client has gone")
        finally:
            for future in (told, gone):
                future.cancel()
            await asyncio.gather(told, gone, return_exceptions=True)
        self._event.clear()


def _check(answer: Answer) -> None:
    """Problem where an answer ended without being done."""
    if answer.state is State.SHED:
        raise Problem(429, "the request would have been late, or too many wait")
    if answer.state is not State.DONE:
        raise Problem(503, _failed(answer)["message"])


def _failed(answer: Answer) -> dict[str, Any]:
    words = {State.CANCELLED: "was cancelled", State.FAILED: "failed", State.SHED: "was shed"}
    return {"message": f"the request {words[answer.state]}", "code": 503}


async def _read(reader: asyncio.StreamReader) -> tuple[str, str, bytes]:
    """Method, path and body of a request."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.LimitOverrunError as error:
        raise Problem(413, "the head is too long") from error
    first, *lines = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (s.partition(":") for s in lines)}
    parts, length = first.split(), headers.get("content-length", "0")
    if len(parts) != 3 or not length.isdigit():
        raise Problem(400, "this is no HTTP request")
    if int(length) > MOST_BODY:
        raise Problem(413, f"the body has {length} bytes, must have {MOST_BODY} at most")
    return parts[0], parts[1].partition("?")[0], await reader.readexactly(int(length))


def _head(status: int, kind: str, length: int | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} {REASONS[status]}", f"Content-Type: {kind}", "Connection: close"]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    if status == 429:
        lines.append("Retry-After: 1")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _send(writer: asyncio.StreamWriter, status: int, content: dict[str, Any]) -> None:
    body = json.dumps(content).encode()
    writer.write(_head(status, "application/json", len(body)) + body)
    await writer.drain()


def _event(writer: asyncio.StreamWriter, content: dict[str, Any]) -> None:
    writer.write(b"data: " + json.dumps(content).encode() + b"\n\n")
