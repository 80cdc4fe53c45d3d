"""Inboxes that are waited at, and that do not grow for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fewseconds.contracts import InboxMessage
from mock_psp import handset
from mock_psp.handset import Handsets

if TYPE_CHECKING:
    import pytest

    from tests.mock_psp.conftest import SkippingLoop


def message(reference: str) -> InboxMessage:
    """A message about a payment."""
    return InboxMessage("m" + reference, reference, "BESTMU-S", "text")


def test_a_wait_ends_with_the_message_or_with_its_time(virtual_loop: SkippingLoop) -> None:
    """Only a matching message ends a wait early; others leave it alone."""

    async def scene() -> list[tuple[float, int]]:
        handsets = Handsets(asyncio.Event())
        begun_s = virtual_loop.time()

        async def wait(reference: str) -> tuple[float, int]:
            found = await handsets.wait("+91", reference, 10)
            return round(virtual_loop.time() - begun_s, 3), len(found)

        waits = [asyncio.ensure_future(wait(reference)) for reference in ("a", "b", "")]
        await asyncio.sleep(3)
        handsets.deliver("+91", message("a"))
        handsets.deliver("+92", message("b"))
        return list(await asyncio.gather(*waits))

    assert virtual_loop.run_until_complete(scene()) == [(3, 1), (10, 0), (3, 1)]


def test_the_oldest_messages_are_forgotten_first(
    virtual_loop: SkippingLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit, one message goes for each that comes."""
    monkeypatch.setattr(handset, "MESSAGES_MAX", 3)
    asyncio.set_event_loop(virtual_loop)
    handsets = Handsets(asyncio.Event())
    for phone, reference in (("+1", "a"), ("+2", "b"), ("+1", "c"), ("+1", "d"), ("+2", "e")):
        handsets.deliver(phone, message(reference))
    assert [one.reference for one in handsets.messages("+1", "")] == ["c", "d"]
    assert [one.reference for one in handsets.messages("+2", "")] == ["e"]
