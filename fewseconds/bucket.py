"""A station's bucket of tokens, as the reference engine and the mock parties keep it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewseconds.pace import taken_ns, token_us

if TYPE_CHECKING:
    from fewseconds.station import RateLimit


def bucket_ns(limit: RateLimit) -> tuple[int, int]:
    """``(interval_ns, slack_ns)`` of a rate limit, see :mod:`fewseconds.pace`."""
    interval_ns = round(1e9 / limit.per_s)
    return interval_ns, (limit.burst - 1) * interval_ns


class Bucket:
    """Full at the beginning; without a limit there is always a token."""

    def __init__(self, limit: RateLimit | None, grid_us: int = 1) -> None:
        """Fill it."""
        self.code = "" if limit is None else limit.code
        self._rejecting = limit is not None and limit.excess == "reject"
        self._waiting = limit is not None and limit.excess == "wait"
        self._interval_ns, self._slack_ns = (0, 0) if limit is None else bucket_ns(limit)
        self._grid_us, self._full_ns = grid_us, 0
        self.start_us = 0
        """When the next service may begin, if visits wait for tokens."""

    def rejects(self, now_us: int) -> bool:
        """Whether a visit that comes now is turned away; if not, it has taken a token."""
        if not self._rejecting:
            return False
        if token_us(self._full_ns, self._slack_ns, self._grid_us) > now_us:
            return True
        self._full_ns = taken_ns(self._full_ns, self._interval_ns, now_us)
        return False

    def begin(self, now_us: int) -> None:
        """Take a token for a service that begins now, if visits wait for tokens."""
        if self._waiting:
            self._full_ns = taken_ns(self._full_ns, self._interval_ns, now_us)
            self.start_us = token_us(self._full_ns, self._slack_ns, self._grid_us)
