"""Webhooks to the merchant: signed, tried again by the calendar, never lost by a restart.

An event is written down for every endpoint that wants it before it is sent for the first time, and
crossed out when the endpoint has taken it or the service gives up. What is not crossed out when the
service starts is sent again, under the same event id.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from fewseconds import address
from mock_psp.clock import wall_s
from mock_psp.delivery import SCHEDULES, SIGNATURES, Event
from mock_psp.merchant_book import Delivery
from mock_psp.merchant_contract import ACCOUNT, public_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mock_psp.calendar import Calendar
    from mock_psp.merchant_book import Book, Endpoint

    Told = Callable[[Endpoint, str], bool]
    """Whether an endpoint knows of an event already, by the id of its delivery."""

UNDER_WAY_MAX: Final = 64
"""Deliveries that are sent at the same time; the others wait for their turn."""

log = logging.getLogger(__name__)


class ForbiddenTargetError(Exception):
    """An address that events may not be sent to."""


def nobody(_: Endpoint, __: str) -> bool:
    """Nobody has been told of what has just happened."""
    return False


def check_target(url: str, hosts: Sequence[str] = ()) -> None:
    """Raise ForbiddenTargetError unless events may be sent there.

    A service that posts to any address it is given can be made to talk to machines that only it can
    reach. So only this machine is allowed, as a literal address or ``localhost``, and what the
    person who started the services has named.
    """
    trouble = address.fault(url)
    if trouble:
        raise ForbiddenTargetError(f"url: {trouble}")
    host = urlsplit(url).hostname or ""
    if not address.allowed(host, hosts):
        raise ForbiddenTargetError(f"url: events are not sent to {host!r}, only to this machine")


class Deliveries:
    """What is on its way to the merchant's endpoints."""

    def __init__(self, book: Book, calendar: Calendar) -> None:
        """Must be made where the event loop runs; goes on with what the book says is undelivered.

        Redirects are not followed: they could lead anywhere.
        """
        self._book, self._calendar = book, calendar
        self._session = aiohttp.ClientSession(auto_decompress=False)
        self._turns = asyncio.Semaphore(UNDER_WAY_MAX)
        self._tasks: set[asyncio.Task[None]] = set()
        self._sequence = 0
        for delivery in list(book.undelivered.values()):
            self._start(delivery)

    def wanted(self, name: str) -> bool:
        """Whether anybody wants to hear of such an event."""
        return any(one.active and name in one.events for one in self._book.endpoints.values())

    def emit(
        self,
        name: str,
        entities: Mapping[str, msgspec.Struct],
        *about: object,
        told: Told = nobody,
    ) -> None:
        """Send an event to every endpoint that wants it and has not been ``told`` of it.

        ``about`` makes its id unique, and the same whenever it is emitted.
        """
        wanted = [one for one in self._book.endpoints.values() if one.active and name in one.events]
        if not wanted:
            return
        event_id = public_id("evt", name, *about).removeprefix("evt_")
        body = msgspec.json.encode(
            {
                "entity": "event",
                "account_id": ACCOUNT,
                "event": name,
                "contains": list(entities),
                "payload": {kind: {"entity": entity} for kind, entity in entities.items()},
                "created_at": self._calendar.now_s(),
            }
        )
        for endpoint in wanted:
            delivery = Delivery(
                id=f"{event_id}.{endpoint.id}", endpoint=endpoint.id, event_id=event_id,
                body=body.decode(),
            )  # fmt: skip
            if told(endpoint, delivery.id):
                continue
            self._book.write(delivery)
            self._start(delivery)

    async def close(self) -> None:
        """Break off what is on its way; the next start sends it again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    def _start(self, delivery: Delivery) -> None:
        task = asyncio.get_running_loop().create_task(self._deliver(delivery))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a delivery broke off", exc_info=error)

    async def _deliver(self, delivery: Delivery) -> None:
        endpoint = self._book.endpoints[delivery.endpoint]
        schedule = SCHEDULES[endpoint.schedule]
        for delay_s in (0, *schedule.delays_s):
            await self._calendar.sleep(delay_s)
            # It may have been switched off or deleted in the meantime.
            endpoint = self._book.endpoints[delivery.endpoint]
            if not endpoint.active:
                break
            if await self._attempt(endpoint, delivery):
                break
        else:
            log.warning("an event was given up", extra={"attempts": len(schedule.delays_s) + 1})
            if schedule.disables:
                self._book.write(msgspec.structs.replace(endpoint, active=False))
        self._book.write(msgspec.structs.replace(delivery, done=True))

    async def _attempt(self, endpoint: Endpoint, delivery: Delivery) -> bool:
        schedule = SCHEDULES[endpoint.schedule]
        event = Event(delivery.event_id, delivery.body.encode(), wall_s())
        headers = {
            "content-type": "application/json",
            **SIGNATURES[endpoint.signature](endpoint.secret, event),
        }
        limit: Any = aiohttp.ClientTimeout(total=schedule.timeout_s)
        try:
            async with (
                self._turns,
                self._session.post(
                    endpoint.url, data=event.body, headers=headers, timeout=limit,
                    allow_redirects=False,
                ) as response,
            ):  # fmt: skip
                kind = response.headers.get("content-type", "")
                return schedule.delivered(response.status, kind)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False
