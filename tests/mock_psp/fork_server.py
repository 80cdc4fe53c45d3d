"""Services that are forked from a process which has imported everything, so a restart is cheap.

Most of the second that a service takes to start goes into importing. What is forked is a process of
its own all the same, with its own sockets and files and nothing of any run in its memory, and
SIGKILL ends it as it ends any other.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from typing import IO, TYPE_CHECKING, Any, Self, cast

from mock_psp.serve import REPOSITORY, Services

if TYPE_CHECKING:
    from collections.abc import Sequence

REQUEST_BYTES = 1 << 16
FDS_MAX = 8
ENDED = 1
"""What is told of a service that ended unasked: who forked it has not kept its exit code."""


class Forked:
    """A forked service, with as much of ``subprocess.Popen`` as :class:`Services` needs."""

    def __init__(self, pid: int, stdin: IO[bytes]) -> None:
        """``stdin`` is our end of its standard input."""
        self.pid, self.stdin = pid, stdin
        self.returncode: int | None = None
        try:
            self._watched = os.pidfd_open(pid)
        except ProcessLookupError:
            self._watched, self.returncode = -1, ENDED

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._watched, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        """A number if it has ended."""
        return self._ended(0)

    def wait(self, limit_s: float | None = None) -> int:
        """Wait for its end; raises subprocess.TimeoutExpired."""
        code = self._ended(limit_s)
        if code is None:
            raise subprocess.TimeoutExpired("service", limit_s or 0)
        return code

    def _ended(self, limit_s: float | None) -> int | None:
        if self.returncode is None and select.select([self._watched], [], [], limit_s)[0]:
            os.close(self._watched)
            self.returncode = ENDED
        return self.returncode


class ForkServer:
    """The process that has imported everything; a context manager that ends it."""

    def __enter__(self) -> Self:
        """Start it."""
        self._line, theirs = socket.socketpair()
        self._turn = threading.Lock()
        with theirs:
            # As a module, like the services: so it imports what stands in this repository.
            command = [sys.executable, "-m", "tests.mock_psp.fork_server", str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], cwd=REPOSITORY)
        return self

    def __exit__(self, *_: object) -> None:
        """It ends when nobody is at the other end of the line."""
        self._line.close()
        self._process.wait()

    def forked(self, arguments: Sequence[str], descriptors: Sequence[int], log: int) -> Forked:
        """A service with these arguments, in which ``descriptors`` are named by their numbers."""
        theirs, ours = os.pipe()
        request = json.dumps([list(arguments), list(descriptors)]).encode()
        with self._turn:
            socket.send_fds(self._line, [request], [theirs, log, *descriptors])
            pid = int.from_bytes(self._line.recv(8), "big")
        os.close(theirs)
        return Forked(pid, os.fdopen(ours, "wb"))


class ForkedServices(Services):
    """Services that are forked instead of started from nothing."""

    def __init__(self, server: ForkServer, *given: Any, **named: Any) -> None:  # noqa: ANN401 - as Services takes them
        """``server`` forks them."""
        super().__init__(*given, **named)
        self._server = server

    def _spawn(
        self, command: Sequence[str], descriptors: Sequence[int], log: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        given = command[command.index("--spec") :]
        forked = self._server.forked(given, descriptors, log.fileno())
        return cast("subprocess.Popen[bytes]", forked)


def _serve(line: socket.socket) -> None:
    """Fork a service for every request until the other end is closed."""
    from fixtures import consumers  # noqa: PLC0415 - only what forks needs it
    from mock_psp import biller, payer_side, process, sms  # noqa: PLC0415 - as above

    assert all((biller, payer_side, sms))
    # Pools that depend on nothing: they would be filled at every start.
    consumers.name(0, 0)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request, fds, *_ = socket.recv_fds(line, REQUEST_BYTES, FDS_MAX)
        if not request:
            return
        pid = os.fork()
        if pid == 0:
            line.close()
            _become(process.main, json.loads(request), fds)
        for fd in fds:
            os.close(fd)
        line.sendall(pid.to_bytes(8, "big"))


def _become(main: Any, request: list[list[Any]], fds: list[int]) -> None:  # noqa: ANN401 - process.main
    """Be the service that was asked for, and end with it."""
    arguments, named = request
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        stdin, log, *rest = fds
        for place, fd in enumerate((stdin, log, log)):
            os.dup2(fd, place)
        here = {str(number): str(fd) for number, fd in zip(named, rest, strict=True)}
        main([here.get(one, one) for one in arguments])
        code = 0
    except BaseException:  # noqa: BLE001 - nothing may go on as a second fork server
        traceback.print_exc()
    finally:
        logging.shutdown()
        os._exit(code)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
