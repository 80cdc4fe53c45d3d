"""Locust's own statistics, kept from growing with the hours of a soak.

They count requests second by second for as long as a test lasts, and look back twelve seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

KEPT_S: Final = 60


def forget(statistics: Any) -> None:  # noqa: ANN401 - Locust's are untyped
    """Drop the seconds that no rate is made of any more; to be called about once a second."""
    for entry in (statistics.total, *statistics.entries.values()):
        for counts in (entry.num_reqs_per_sec, entry.num_fail_per_sec):
            if len(counts) > 2 * KEPT_S:
                for second in list(_old(counts)):
                    del counts[second]


def _old(counts: dict[int, int]) -> Iterator[int]:
    newest = max(counts)
    return (second for second in counts if second < newest - KEPT_S)
