"""Handsets and their inboxes: where an SMS ends, and where a test waits for it."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from fewseconds.contracts import InboxMessage


MESSAGES_MAX: Final = 20_000
"""Messages that are kept (some 700 bytes each); the oldest are forgotten first. It is more than
arrive at the highest rate while somebody waits for one."""


class Handsets:
    """The inboxes of all telephone numbers."""

    def __init__(self, closing: asyncio.Event) -> None:
        """``closing`` ends every wait."""
        self._closing = closing
        self._inboxes: dict[str, list[InboxMessage]] = {}
        self._order: deque[str] = deque()
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._watch: asyncio.Task[None] | None = None

    def deliver(self, phone: str, message: InboxMessage) -> None:
        """Put a message into an inbox, and wake who waits at it."""
        self._inboxes.setdefault(phone, []).append(message)
        self._order.append(phone)
        if len(self._order) > MESSAGES_MAX:
            oldest = self._order.popleft()
            del self._inboxes[oldest][0]
            if not self._inboxes[oldest]:
                del self._inboxes[oldest]
        for waiter in self._waiting.get(phone, ()):
            if not waiter.done():
                waiter.set_result(None)

    def messages(self, phone: str, reference: str) -> tuple[InboxMessage, ...]:
        """What an inbox holds, or the part of it that has this reference."""
        inbox = self._inboxes.get(phone, ())
        return tuple(one for one in inbox if reference in ("", one.reference))

    async def wait(self, phone: str, reference: str, wait_s: float) -> tuple[InboxMessage, ...]:
        """The matching messages as soon as there is one, or none after ``wait_s``."""
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + wait_s
        if self._watch is None:
            self._watch = loop.create_task(self._release())
        found = self.messages(phone, reference)
        while not found and not self._closing.is_set():
            rest_s = deadline_s - loop.time()
            if rest_s <= 0:
                break
            waiter = loop.create_future()
            here = self._waiting.setdefault(phone, set())
            here.add(waiter)
            alarm = loop.call_later(rest_s, _wake, waiter)
            try:
                await waiter
            finally:
                alarm.cancel()
                here.discard(waiter)
                if not here:
                    self._waiting.pop(phone, None)
            found = self.messages(phone, reference)
        return found

    async def _release(self) -> None:
        """Let everybody go when the service is told to stop."""
        await self._closing.wait()
        for waiters in self._waiting.values():
            for waiter in waiters:
                _wake(waiter)


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
