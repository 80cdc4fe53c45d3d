"""Who pays and when: every moment a hash of who it belongs to, so that any part can be made alone.

A month has a fixed number of payments. Everybody makes the whole ones of
``payments_per_consumer_month``; its fraction goes to those with the smallest draws. A *round* is
one payment of a consumer: round 0 is its bill of the month, round 1 an older one, and so on.

A moment is the inverse of the cumulative intensity at the consumer's own draws (billing cycle, day
after the bill, hour, moment within the hour), so no moment depends on another. A city is sorted by
time in memory; a country is sorted in a temporary file, one short stretch of the month at a time.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from fewseconds import chance
from fewseconds.errors import UsageError
from fewseconds.ways import kinds_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fewseconds.scenario import Scenario

SECOND_US: Final = 1_000_000
DAY_US: Final = 86_400 * SECOND_US
HOUR_US: Final = 3_600 * SECOND_US
BLOCK: Final = 1 << 18
"""Consumers that are asked at a time."""
ROW_BYTES: Final = 16


class Payments(msgspec.Struct, frozen=True):
    """Payments of some consumers: columns of equal length."""

    journeys: NDArray[np.int64]
    """``consumer + round * population``."""
    starts_us: NDArray[np.int64]
    """Microseconds since the first midnight (IST) of the month, ascending."""
    kinds: NDArray[np.int16] | None = None
    """Codes of the kinds of journey, where a file of arrivals knows them."""

    def __len__(self) -> int:
        """Return the number of payments."""
        return len(self.journeys)

    def __getitem__(self, rows: slice) -> Payments:
        """Some of them, in the same order."""
        kinds = None if self.kinds is None else self.kinds[rows]
        return Payments(self.journeys[rows], self.starts_us[rows], kinds)


class Arrivals:
    """The payments of a scenario's month under one seed."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        """Find who pays how often.

        Raises UsageError if nobody pays, or if a billing cycle leaves no day to pay on.
        """
        self.scenario, self.seed, self.table = scenario, seed, scenario.arrivals
        self._real: tuple[NDArray[np.int64], NDArray[np.int16] | None] | None = None
        if self.table.file:
            # Few have such a file, and its reader costs a tenth of a second.
            from fewseconds import arrivals_file  # noqa: PLC0415 - see above

            self._real = arrivals_file.read(
                Path(self.table.file),
                scenario.first_day,
                self.table.days,
                list(scenario.journeys),
            )
        self.count = scenario.payments if self._real is None else len(self._real[0])
        if self.count == 0:
            message = (
                f"{scenario.name}: nobody of {scenario.consumers} consumers pays; raise the rate"
            )
            raise UsageError(message)
        self.rounds_full, rest = divmod(self.count, scenario.consumers)
        rhythms, places = [self._rhythm_of("")], ["arrivals"]
        used = {kind for kind, share in scenario.channel_shares().items() if share > 0}
        self._rhythm = np.zeros(len(scenario.journeys), np.int64)
        for place, kind in enumerate(scenario.journeys):
            own = scenario.channels.get(kind)
            if own is not None and kind in used and (own.weekdays or own.hours):
                places.append(f"channels.{kind}")
                self._rhythm[place] = len(rhythms)
                rhythms.append(self._rhythm_of(kind))
        self._day_edges = [
            list(self._cycles_day_edges(days, place))
            for (days, _), place in zip(rhythms, places, strict=True)
        ]
        self._hour_edges = [chance.cumulative(hours) for _, hours in rhythms]
        self._bound = self._last_payer(rest) if rest else (0, -1)

    def payments(self) -> Payments:
        """All payments of the month, in order of time, round and consumer."""
        if self._real is not None:
            # Who of the payers pays at which of the moments is a matter of chance.
            payers = np.concatenate([journeys for journeys, _ in self._payers()])
            luck = self._draws("whose", payers % self.scenario.consumers, 0)
            return Payments(payers[np.argsort(luck, kind="stable")], *self._real)
        return _in_order(*map(np.concatenate, zip(*self._blocks(), strict=True)))

    def stretches(self, payments_max: int) -> Iterator[Payments]:
        """:meth:`payments` in consecutive stretches of about ``payments_max`` or fewer.

        Memory depends on ``payments_max`` alone: more payments than that go through a temporary
        file of 16 bytes a payment (where TMPDIR says), written once by blocks of consumers, each
        sorted by stretch, and read stretch by stretch.
        """
        if self._real is not None or self.count <= payments_max:
            yield self.payments()
            return
        cuts_us = self._cuts_us(-(-self.count // payments_max))
        offsets = []
        with tempfile.TemporaryFile(prefix="fewseconds-plan-") as file:
            for journeys, starts_us in self._blocks():
                place = np.searchsorted(cuts_us, starts_us, side="right").astype(np.int32)
                order = np.argsort(place, kind="stable")
                counts = np.bincount(place, minlength=len(cuts_us) + 1)
                offsets.append(file.tell() // ROW_BYTES + np.append(0, np.cumsum(counts)))
                file.write(np.stack([journeys[order], starts_us[order]], axis=1).tobytes())
            for stretch in range(len(cuts_us) + 1):
                yield _in_order(*_read(file, [(o[stretch], o[stretch + 1]) for o in offsets]))

    def _cuts_us(self, parts: int) -> NDArray[np.int64]:
        """Moments between which equal parts of the month's payments are expected."""
        shares = self.scenario.channel_shares()
        hourly = sum(
            share * np.outer(self._day_shares(days), _shares(hours)).ravel()
            for share, (days, hours) in (
                (share, self._rhythm_of(kind)) for kind, share in shares.items()
            )
        )
        passed = np.append(0.0, np.cumsum(hourly))
        wanted = np.arange(1, parts) / parts * passed[-1]
        cuts_us = np.interp(wanted, passed, HOUR_US * np.arange(len(passed)))
        return np.asarray(cuts_us, np.int64)

    def _blocks(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Journeys and their starts, block by block of the consumers of every round."""
        everyone = self.scenario.consumers
        for journeys, number in self._payers():
            yield journeys, self._starts_us(journeys - number * everyone, number)

    def _payers(self) -> Iterator[tuple[NDArray[np.int64], int]]:
        """Journeys of those who pay, block by block of the consumers, with their round."""
        everyone = self.scenario.consumers
        for number in range(self.rounds_full + (self._bound[1] >= 0)):
            for first in range(0, everyone, BLOCK):
                consumers = np.arange(first, min(first + BLOCK, everyone))
                if number == self.rounds_full:
                    luck, (most, last) = self._draws("pays", consumers, number), self._bound
                    consumers = consumers[(luck < most) | ((luck == most) & (consumers <= last))]
                yield consumers + number * everyone, number

    def _draws(self, name: str, consumers: NDArray[np.int64], number: int) -> NDArray[np.uint32]:
        stream = chance.stream("plan", name)
        return chance.uniform_array(self.seed, stream, consumers, number + 1)

    def _starts_us(self, consumers: NDArray[np.int64], number: int) -> NDArray[np.int64]:
        # The cycle is the consumer's, whichever of its bills it pays.
        cycle = self._draws("cycle", consumers, 0).astype(np.int64) * self.table.cycles >> 32
        luck, of_hour = (self._draws(name, consumers, number) for name in ("day", "hour"))
        # Who comes to a counter comes when it is open; the way belongs to the consumer as well.
        many = len(self._hour_edges) > 1
        kinds = kinds_of(self.scenario, self.seed, consumers) if many else np.zeros(1, np.int16)
        rhythm = np.broadcast_to(self._rhythm[kinds], consumers.shape)
        both = (rhythm * self.table.cycles + cycle).astype(np.int16)
        day, hour = np.empty(len(consumers), np.int64), np.empty(len(consumers), np.int64)
        for beat, edges_of_cycles in enumerate(self._day_edges):
            for own, edges in enumerate(edges_of_cycles):
                mine = np.flatnonzero(both == beat * self.table.cycles + own)
                day[mine] = chance.pick_array(edges, luck[mine])
            mine = np.flatnonzero(rhythm == beat)
            hour[mine] = chance.pick_array(self._hour_edges[beat], of_hour[mine])
        moment = self._draws("moment", consumers, number).astype(np.int64)
        # 3.6e9 * 2**32 would overflow: the hour is split at 2**-20 of itself first.
        within_us = ((moment >> 12) * HOUR_US >> 20) + ((moment & 0xFFF) * (HOUR_US >> 20) >> 12)
        starts_us: NDArray[np.int64] = day * DAY_US + hour * HOUR_US + within_us
        return starts_us

    def _last_payer(self, rest: int) -> tuple[int, int]:
        """Draw and number of the last of the ``rest`` consumers with the smallest draws.

        Two passes instead of a sort, so that no population needs memory: one counts draws by their
        upper halves, one keeps those that share the upper half of the draw wanted.
        """
        counts = np.zeros(1 << 16, np.int64)
        for first in range(0, self.scenario.consumers, BLOCK):
            block = np.arange(first, min(first + BLOCK, self.scenario.consumers))
            luck = self._draws("pays", block, self.rounds_full)
            counts += np.bincount(luck >> 16, minlength=1 << 16)
        half = int(np.searchsorted(np.cumsum(counts), rest))
        near: list[tuple[int, int]] = []
        for first in range(0, self.scenario.consumers, BLOCK):
            block = np.arange(first, min(first + BLOCK, self.scenario.consumers))
            luck = self._draws("pays", block, self.rounds_full)
            mine = np.flatnonzero(luck >> 16 == half)
            near += zip(luck[mine].tolist(), block[mine].tolist(), strict=True)
        return sorted(near)[rest - int(counts[:half].sum()) - 1]

    def _cycles_day_edges(self, weekdays: tuple[float, ...], place: str) -> Iterator[list[int]]:
        for cycle in range(self.table.cycles):
            weights = self._day_weights(cycle, weekdays)
            if not any(weights):
                message = (
                    f"{place}: bills of day {self._billed(cycle)} are paid on days of weight 0 "
                    "only; give one of their weekdays a weight above 0"
                )
                raise UsageError(message)
            yield chance.cumulative(weights)

    def _billed(self, cycle: int) -> int:
        """Day on which the bills of ``cycle`` are issued."""
        return cycle * self.table.days // self.table.cycles

    def _day_weights(self, cycle: int, weekdays: tuple[float, ...]) -> list[float]:
        """Relative frequency of every day of the month among the payments of a billing cycle.

        The month is taken as one of many alike: what would fall past its end was billed a month
        earlier and falls at its beginning.
        """
        first_weekday = self.scenario.first_day.weekday()
        weights = [0.0] * self.table.days
        for offset, weight in enumerate(self.table.days_after_bill):
            day = (self._billed(cycle) + offset) % self.table.days
            weights[day] += weight * weekdays[(first_weekday + day) % 7]
        return weights

    def _rhythm_of(self, kind: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Weekdays and hours of those who come this way; everybody's for what is no channel."""
        own = self.scenario.channels.get(kind)
        weekdays, hours = self.table.weekdays, self.table.hours
        return (weekdays, hours) if own is None else (own.weekdays or weekdays, own.hours or hours)

    def _day_shares(self, weekdays: tuple[float, ...]) -> NDArray[np.float64]:
        """Expected share of the month's payments, a day."""
        cycles = [_shares(self._day_weights(one, weekdays)) for one in range(self.table.cycles)]
        shares: NDArray[np.float64] = np.mean(cycles, axis=0)
        return shares


def _shares(weights: tuple[float, ...] | list[float]) -> NDArray[np.float64]:
    return np.asarray(weights, np.float64) / sum(weights)


def _read(
    file: IO[bytes], parts: Iterable[tuple[int, int]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows ``[first, until)`` of every part, as journeys and starts."""
    journeys, starts_us = [], []
    for first, until in parts:
        file.seek(int(first) * ROW_BYTES)
        read = np.frombuffer(file.read(int(until - first) * ROW_BYTES), np.int64)
        journeys.append(read[0::2])
        starts_us.append(read[1::2])
    return np.concatenate(journeys), np.concatenate(starts_us)


def _in_order(journeys: NDArray[np.int64], starts_us: NDArray[np.int64]) -> Payments:
    order, starts_us = _sorted(starts_us)
    return Payments(journeys[order], starts_us)


def _sorted(starts_us: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The order that sorts ``starts_us``, equal ones as they stand, and the sorted starts."""
    if len(starts_us) == 0:
        return np.empty(0, np.int64), starts_us
    bits = max(len(starts_us) - 1, 1).bit_length()
    origin_us = int(starts_us.min())
    if (int(starts_us.max()) - origin_us).bit_length() + bits > 63:  # noqa: PLR2004 - of an int64
        order = np.argsort(starts_us, kind="stable")
        return order, starts_us[order]
    # One number that holds both start and place sorts several times as fast as an index does.
    packed = np.sort(((starts_us - origin_us) << bits) | np.arange(len(starts_us)))
    return packed & ((1 << bits) - 1), (packed >> bits) + origin_us
