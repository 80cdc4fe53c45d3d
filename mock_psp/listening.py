"""The sockets that services listen on: a port for everybody, a Unix socket for each other."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from fewseconds.contracts import READY
from fewseconds.errors import HarnessError
from mock_psp.spec import HOST

if TYPE_CHECKING:
    from collections.abc import Sequence

DOOR_BYTES_MAX: Final = 103
"""Of the path of a Unix socket; four more on Linux."""


def bound(service: str, port: int, host: str = HOST) -> socket.socket:
    """A socket bound to a port of ``host`` (0: a free one); raises HarnessError if it is busy."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        raise HarnessError(
            f"{service} (port {port}): {error.strerror}; stop what uses the port, or choose another"
        ) from None
    return made


def bound_door(service: str, door: str) -> socket.socket:
    """A Unix socket in place of the one that a service before has left; raises HarnessError."""
    path = Path(door)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.unlink(missing_ok=True)
        made.bind(door)
    except OSError as error:
        made.close()
        message = f"{service} ({door}): {error.strerror or error}; let TMPDIR name another folder"
        raise HarnessError(message) from None
    return made


def is_ready(port: int, host: str = HOST) -> bool:
    """Whether the service on this port says that it is ready."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", READY)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def make_doors(services: Sequence[str]) -> dict[str, str]:
    """Paths of Unix sockets by service; none where no folder for them can be had.

    Services talk through their ports then.
    """
    with contextlib.suppress(OSError):
        # Not in the run's folder, whose path may be too long for a socket's.
        folder = tempfile.mkdtemp(prefix="fewseconds-doors-")
        doors = {service: f"{folder}/{service}" for service in services}
        if all(len(os.fsencode(door)) <= DOOR_BYTES_MAX for door in doors.values()):
            return doors
        Path(folder).rmdir()
    return {}
