"""Searches that ask one question after the other, so that many of them can be asked in step.

A search is a generator: it yields what it wants to know about, is sent the answer, and returns what
it has found. :func:`in_step` collects the questions of all searches and has them answered at once,
so that every core has something to do, and a question that two of them ask is answered once.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

Q = TypeVar("Q")
A = TypeVar("A")
S = TypeVar("S")
T = TypeVar("T")

STRIDE: Final = 1.25
"""The first stride of a search for an edge; the next one is this squared, and so on."""


def in_step(
    searches: Sequence[Generator[Q, A, T]], ask: Callable[[Sequence[Q]], Sequence[A]]
) -> list[T]:
    """Let all searches end, round by round; what each has found, in their order."""
    found: dict[int, T] = {}
    asked: dict[int, Q] = {}

    def advance(number: int, move: Callable[[], Q]) -> None:
        try:
            asked[number] = move()
        except StopIteration as end:
            found[number] = end.value

    for number, search in enumerate(searches):
        advance(number, lambda search=search: next(search))  # type: ignore[misc]
    while asked:
        questions, asked = asked, {}
        for number, answer in zip(questions, ask(list(questions.values())), strict=True):
            mine = searches[number]
            advance(number, lambda mine=mine, answer=answer: mine.send(answer))  # type: ignore[misc]
    return [found[number] for number in range(len(searches))]


def about(subject: S, search: Generator[Q, A, T]) -> Generator[tuple[S, Q], A, T]:
    """A search whose questions tell what they are about."""
    question = next(search)
    while True:
        try:
            question = search.send((yield subject, question))
        except StopIteration as end:
            found: T = end.value
            return found


def least(begin: int) -> Generator[int, bool, int]:
    """The smallest number from 1 on that is good enough; so is every larger one.

    Gallops up or down from ``begin`` in steps that double, then halves what is between.
    """
    step, low, high = 1, 0, max(begin, 1)
    if (yield high):
        while high - low > 1:
            probe = max(high - step, 1)
            if not (yield probe):
                low = probe
                break
            high, step = probe, step * 2
    else:
        while True:
            low, high, step = high, high + step, step * 2
            if (yield high):
                break
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if (yield middle) else (middle, high)
    return high


def edge(
    begin: float, smallest: float, largest: float, width: float
) -> Generator[float, bool, tuple[float, float | None]]:
    """Where something that holds stops to hold, ``(low, high)`` with ``high / low <= width``.

    It holds at ``low``, which is 0 if it does not hold at ``smallest``, and not at ``high``, which
    is None if it still holds at ``largest``.
    """
    at, stride = min(max(begin, smallest), largest), STRIDE
    low, high = 0.0, None
    if (yield at):
        low = at
        while high is None:
            if low >= largest:
                return low, None
            probe, stride = min(low * stride, largest), stride**2
            if (yield probe):
                low = probe
            else:
                high = probe
    else:
        high = at
        while low == 0:
            if high <= smallest:
                return 0.0, high
            probe, stride = max(high / stride, smallest), stride**2
            if (yield probe):
                low = probe
            else:
                high = probe
    return (yield from between(low, high, width))


def between(near: float, far: float, width: float) -> Generator[float, bool, tuple[float, float]]:
    """Close in on where it stops to hold: it does at ``near`` and does not at ``far``.

    ``far`` may be the smaller one. Halves on a logarithmic scale, until they are ``width`` apart.
    """
    while max(far / near, near / far) > width:
        middle = math.sqrt(near * far)
        near, far = (middle, far) if (yield middle) else (near, middle)
    return near, far
