"""Delivery reports over HTTP: what became of a message, told to the address its sender gave."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import aiohttp
import msgspec

if TYPE_CHECKING:
    from fewseconds.contracts import SmsReport
    from mock_psp.gateway import Listener, Settle

WAITS_S: Final = (0, 1, 5, 30)
"""Before the first, second, … try: *assumption*, gateways publish no schedule."""
ANSWER_S: Final = 5

log = logging.getLogger(__name__)


class Reports:
    """Sends reports until they are taken, or gives up; after a kill, from the first try on."""

    def start(self) -> None:
        """Must be called where the event loop runs."""
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=ANSWER_S),
            headers={"content-type": "application/json"},
        )

    async def stop(self) -> None:
        """Close the connections; reports on their way have been broken off before."""
        await self._session.close()

    def listener(self, url: str) -> Listener:
        """Whoever is told at ``url``, which ``webhooks.check_target`` has let through."""

        async def tell(report: SmsReport, settle: Settle) -> None:
            body = msgspec.json.encode(report)
            for wait_s in WAITS_S:
                await asyncio.sleep(wait_s)
                if await self._taken(url, body):
                    settle("reported")
                    return
            log.warning("nobody takes a report", extra={"message_id": report.message_id})
            settle("unreported")

        return tell

    async def _taken(self, url: str, body: bytes) -> bool:
        try:
            # Following a redirect would lead past the check of the address.
            async with self._session.post(url, data=body, allow_redirects=False) as response:
                return response.status < 300  # noqa: PLR2004 - the 2xx statuses
        except (TimeoutError, aiohttp.ClientError):
            return False
