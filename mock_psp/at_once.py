"""Work that is begun before a task is made for it, and gets one only if it has to wait."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


class _Begun(Coroutine[Any, Any, None]):
    """A coroutine that has run until it had to wait: what a task needs to go on with it."""

    __slots__ = ("_waits_for", "_work")

    def __init__(self, work: Coroutine[Any, Any, None], waits_for: object) -> None:
        """``waits_for`` is what the work has yielded."""
        self._work, self._waits_for = work, waits_for

    def send(self, value: object) -> object:
        """What it waits for: at first that which is known."""
        waits_for, self._waits_for = self._waits_for, None
        return self._work.send(value) if waits_for is None else waits_for

    def throw(self, *error: Any) -> object:  # noqa: ANN401 - as Python calls it
        """Raise an error where it waits."""
        self._waits_for = None
        return self._work.throw(*error)

    def close(self) -> None:
        """Break it off."""
        self._work.close()

    def __await__(self) -> Generator[Any, Any, None]:
        """Tasks do without it."""
        raise NotImplementedError


def started(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None], *, at_once: bool
) -> asyncio.Task[None] | None:
    """The task of some work; None if it was begun ``at_once`` and had nothing to wait for.

    A task would have cost as much as the answer. Nothing that is begun at once may ask which task
    it is in (``asyncio.timeout`` and aiohttp do).
    """
    if at_once:
        try:
            work = _Begun(work, work.send(None))
        except StopIteration:
            return None
    return loop.create_task(work)
