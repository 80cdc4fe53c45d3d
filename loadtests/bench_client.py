"""One measurement of one client, named with URL, connections and requests as arguments.

Prints microseconds of processor time a request. Around every request is what stock Locust does
with it: its event, and the statistics that listen.
"""

from __future__ import annotations

# Locust patches the standard library when it is imported, so it comes first.
import locust  # noqa: F401  # isort: skip

import sys
import time
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import gevent
from geventhttpclient import HTTPClient
from locust.contrib.fasthttp import FastHttpSession
from locust.env import Environment

from loadtests.pool import Pool
from loadtests.probefile import FIELDS

if TYPE_CHECKING:
    from collections.abc import Callable

WARM_UP: Final = 500
PATIENCE_S: Final = 30.0
TOLD: Final[dict[str, Any]] = {"request_type": "GET", "name": "/", "exception": None, "context": {}}


def lean(environment: Any, url: str, connections: int) -> Callable[[], None]:  # noqa: ANN401 - untyped
    """Our client."""
    line = Pool(url.rstrip("/"), connections)
    fire = environment.events.request.fire

    def ask() -> None:
        begun = time.perf_counter()
        size = len(line.exchange("GET", "/", FIELDS, b"", PATIENCE_S).body)
        fire(response_time=(time.perf_counter() - begun) * 1e3, response_length=size, **TOLD)

    return ask


def fasthttp(environment: Any, url: str, connections: int) -> Callable[[], None]:  # noqa: ANN401 - untyped
    """What a FastHttpUser calls as ``self.client``; it fires the event itself."""
    session = FastHttpSession(
        url.rstrip("/"), environment.events.request, None, concurrency=connections
    )

    def ask() -> None:
        session.get("/", name="/")

    return ask


def geventhttpclient(environment: Any, url: str, connections: int) -> Callable[[], None]:  # noqa: ANN401 - untyped
    """The library under FastHttpUser, called directly."""
    parts = urlsplit(url)
    line = HTTPClient(parts.hostname or "", parts.port, concurrency=connections)
    fire = environment.events.request.fire

    def ask() -> None:
        begun = time.perf_counter()
        size = len(line.get("/").read())
        fire(response_time=(time.perf_counter() - begun) * 1e3, response_length=size, **TOLD)

    return ask


def measured_us(ask: Callable[[], None], connections: int, requests: int) -> float:
    """Processor time a request, of greenlets that ask again and again."""

    def ask_often(count: int) -> None:
        for _ in range(count):
            ask()

    def everybody(count: int) -> None:
        each = max(count // connections, 1)
        greenlets = [gevent.spawn(ask_often, each) for _ in range(connections)]
        gevent.joinall(greenlets, raise_error=True)

    everybody(WARM_UP)
    begun_s = time.process_time()
    everybody(requests)
    return (time.process_time() - begun_s) * 1e6 / (max(requests // connections, 1) * connections)


def main() -> None:
    """Measure as the arguments say."""
    name, url, connections, requests = sys.argv[1:5]
    environment = Environment()
    environment.create_local_runner()
    make = {"lean": lean, "fasthttp": fasthttp, "geventhttpclient": geventhttpclient}[name]
    ask = make(environment, url, int(connections))
    print(measured_us(ask, int(connections), int(requests)))  # noqa: T201 - for whoever asked


if __name__ == "__main__":
    main()
