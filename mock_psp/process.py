"""One service as a process: ``python -m mock_psp.process --spec FILE --service NAME --socket FD``.

The sockets are bound by whoever starts the process, so a busy port is noticed there: one that
everybody comes to, and with ``--door FD`` a Unix socket for the services beside it. The process
ends when it is told to (SIGTERM, SIGINT) or when its standard input closes, which happens at the
latest when its parent dies.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import threading
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from fewseconds import garbage
from mock_psp import logs
from mock_psp.door import Inside
from mock_psp.lean_protocol import KEEP_ALIVE_S, LeanProtocol
from mock_psp.spec import SERVICES, read_secrets, read_spec
from mock_psp.world import World

if TYPE_CHECKING:
    from types import FrameType

    from mock_psp.front import Front

MODULES: Final = {"psp": "payer_side", "biller": "biller", "sms": "sms", "portal": "portal"}
DRAIN_S: Final = 2
BACKLOG: Final = 4096

log = logging.getLogger("mock_psp.process")


class Server(uvicorn.Server):
    """Uvicorn that tells the service when it has to stop, and then ends with status 0."""

    def __init__(self, config: uvicorn.Config, world: World, door: socket.socket | None) -> None:
        """``world.closing`` is set as soon as the process is told to stop."""
        super().__init__(config)
        self._world, self._door = world, door
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Watch the parent from now on."""
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._watch_parent, daemon=True).start()
        await super().startup(sockets=sockets)
        if self._door is not None and self.started:
            await self._open(self._loop, self._door)
        log.info("serving", extra={"pid": os.getpid()})
        garbage.settle()

    async def _open(self, loop: asyncio.AbstractEventLoop, door: socket.socket) -> None:
        """Answer the services beside this one."""
        front: Any = self.config.loaded_app

        def protocol() -> Inside:
            return Inside(front, self.server_state, loop)

        server: Any = await loop.create_unix_server(protocol, sock=door, backlog=BACKLOG)
        self.servers.append(server)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        """Begin to stop; unlike the original, do not raise the signal again at the end."""
        if not self.should_exit:
            log.info("draining", extra={"signal": sig})
        self.should_exit = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._world.closing.set)

    def _watch_parent(self) -> None:
        while os.read(0, 1024):
            pass
        self.handle_exit(0, None)


def main(arguments: list[str] | None = None) -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="mock_psp.process")
    parser.add_argument("--spec", type=Path, required=True)
    parser.add_argument("--service", choices=SERVICES, required=True)
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--door", type=int)
    parser.add_argument("--smpp", type=int)
    parser.add_argument("--process", default="")
    given = parser.parse_args(arguments)
    logs.set_up(given.process or given.service)
    spec = read_spec(given.spec)
    world = World(spec, read_secrets(spec), given.process or given.service)
    if given.smpp is not None:
        world.smpp = socket.socket(fileno=given.smpp)
    LeanProtocol.allowed = spec.networks(given.service)
    module = import_module(f"mock_psp.{MODULES[given.service]}")
    door = None if given.door is None else socket.socket(fileno=given.door)
    serve(module.application(world), world, socket.socket(fileno=given.socket), door)


def serve(
    app: Front, world: World, listening: socket.socket, door: socket.socket | None = None
) -> None:
    """Answer on bound sockets until told to stop, then drain within :data:`DRAIN_S`."""
    asgi: Any = app
    door_path = "" if door is None else door.getsockname()
    config = uvicorn.Config(
        asgi,
        http=LeanProtocol,
        loop="uvloop",
        lifespan="on",
        ws="none",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=DRAIN_S,
    )
    Server(config, world, door).run(sockets=[listening])
    if door is not None:
        # Whoever has made it may have been killed.
        with suppress(OSError):
            path = Path(door_path)
            path.unlink()
            path.parent.rmdir()
    log.info("stopped")


if __name__ == "__main__":
    main()
