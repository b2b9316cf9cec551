"""Keeps an opened engine serving over HTTP until it is told to stop, and ends it in order.

Two threads: the engine's, and this one, whose loop has the connections. At a first signal nothing
new is taken, and what is inside goes on for a while; then, or at a second signal, what is left is
cancelled. The engine's thread ends when nobody is inside; nothing of its memory is held then.
"""

import asyncio
import gc
import signal
import sys
import threading
from collections.abc import Callable

from calibrate.engine.served.seam import Opened
from calibrate.engine.server.gauge import Gauge
from calibrate.engine.server.http import Server
from kaiju_sim.errors import UserError

Say = Callable[[str], None]
SIGNALS = (signal.SIGINT, signal.SIGTERM)
SWITCH_S = 0.0005
"""How long a thread may keep the interpreter's lock while the other one wants it: the engine's must
not wait for long for the one that writes answers."""
LAST_S = 5.0
"""For connections to write what they have, once the engine is through."""


class EngineThread(threading.Thread):
    """Runs the engine; keeps what it raised."""

    def __init__(
        self, opened: Opened, ended: Callable[[], None], loop: asyncio.AbstractEventLoop
    ) -> None:
        """`ended` is called in the loop when it has ended."""
        super().__init__(name="engine")
        self._engine, self._ended, self._loop = opened.engine, ended, loop
        self.error: BaseException | None = None

    def run(self) -> None:
        """Until the door is closed and everybody has left."""
        try:
            self._engine.run()
        except BaseException as error:
            self.error = error
        finally:
            self._loop.call_soon_threadsafe(self._ended)


class Live:
    """An engine that serves."""

    def __init__(self, opened: Opened, drain_s: float, say: Say) -> None:
        self.opened, self.drain_s, self._say = opened, drain_s, say
        self._server = Server(opened.engine, opened.name, opened.vocabulary)
        self._stop, self._hurry, self._through = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def serve(self, host: str, port: int, out: Say) -> None:
        """From the first request to the last; `out` gets the address."""
        loop = asyncio.get_running_loop()
        listening = await self._listen(host, port)
        thread = EngineThread(self.opened, self._through.set, loop)
        for number in SIGNALS:
            loop.add_signal_handler(number, self._told)
        thread.start()
        address = listening.sockets[0].getsockname()
        out(f"http://{host}:{address[1]}")
        talk = asyncio.create_task(self._talk())
        try:
            await _first(self._stop, self._through)
        finally:
            listening.close()
            await self._end(thread)
            talk.cancel()
            for number in SIGNALS:
                loop.remove_signal_handler(number)

    async def _listen(self, host: str, port: int) -> asyncio.Server:
        try:
            return await self._server.listen(host, port)
        except OSError as error:
            raise UserError(f"cannot listen on {host}:{port}: {error.strerror}") from error

    def _told(self) -> None:
        """A signal: the first asks, the second one insists."""
        (self._hurry if self._stop.is_set() else self._stop).set()

    async def _talk(self) -> None:
        """A line a second, while it is another one."""
        gauge, said = Gauge(self.opened.engine, self.opened.traffic), ""
        while True:
            await asyncio.sleep(1.0)
            line = gauge.line()
            if line != said:
                self._say(line)
            said = line

    async def _end(self, thread: EngineThread) -> None:
        """Drain, cancel what is left, join. Raises what the engine has raised."""
        door = self.opened.engine.door
        door.close()
        if not self._through.is_set():
            self._say(f"stopping: {door.inside} requests inside, {self.drain_s:g} s for them")
            await _first(self._through, self._hurry, seconds=self.drain_s)
        await self._server.finish(LAST_S if self._through.is_set() else 0.0)
        await self._through.wait()
        thread.join()
        if thread.error is not None:
            raise thread.error
        self.opened.engine.mirror.check()
        self._say("stopped: nobody is inside, and no page is held")


async def _first(*events: asyncio.Event, seconds: float | None = None) -> None:
    """Until one of them is set, or so long."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
    await asyncio.gather(*waits, return_exceptions=True)


def serve(opened: Opened, host: str, port: int, drain_s: float, out: Say, say: Say) -> None:
    """Serve until SIGINT or SIGTERM."""

    async def whole() -> None:
        await Live(opened, drain_s, say).serve(host, port, out)

    interval = sys.getswitchinterval()
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(SWITCH_S)
    try:
        asyncio.run(whole())
    finally:
        sys.setswitchinterval(interval)
        gc.unfreeze()
