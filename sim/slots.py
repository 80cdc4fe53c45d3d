"""The compiled engine's event list, a binary heap by (time, rank), and its slots."""

from __future__ import annotations

from sim import layout as at
from sim.jit import inlined
from sim.layout import City  # noqa: TC001 - compiled with its annotations


@inlined
def push(c: City, time_us: int, rank: int, slot: int) -> None:
    """Put an event on the list."""
    heap = c.heap
    hole = c.n[at.HEAP_SIZE]
    c.n[at.HEAP_SIZE] = hole + 1
    while hole > 0:
        above = (hole - 1) >> 1
        if heap[above, 0] < time_us or (heap[above, 0] == time_us and heap[above, 1] < rank):
            break
        heap[hole, 0] = heap[above, 0]
        heap[hole, 1] = heap[above, 1]
        heap[hole, 2] = heap[above, 2]
        hole = above
    heap[hole, 0] = time_us
    heap[hole, 1] = rank
    heap[hole, 2] = slot


@inlined
def drop_first(c: City) -> None:
    """Take the first event off the list."""
    heap = c.heap
    size = c.n[at.HEAP_SIZE] - 1
    c.n[at.HEAP_SIZE] = size
    time_us, rank, slot = heap[size, 0], heap[size, 1], heap[size, 2]
    hole, below = 0, 1
    while below < size:
        other = below + 1
        if other < size and (
            heap[other, 0] < heap[below, 0]
            or (heap[other, 0] == heap[below, 0] and heap[other, 1] < heap[below, 1])
        ):
            below = other
        if time_us < heap[below, 0] or (time_us == heap[below, 0] and rank < heap[below, 1]):
            break
        heap[hole, 0] = heap[below, 0]
        heap[hole, 1] = heap[below, 1]
        heap[hole, 2] = heap[below, 2]
        hole, below = below, 2 * below + 1
    heap[hole, 0] = time_us
    heap[hole, 1] = rank
    heap[hole, 2] = slot


@inlined
def new_visit(c: City) -> int:
    """Take a free slot for a visit."""
    slot = c.n[at.FREE_VISIT]
    c.n[at.FREE_VISIT] = c.visits[slot, at.V_NEXT]
    c.n[at.VISITS_LEFT] -= 1
    return slot


@inlined
def free_visit(c: City, slot: int) -> None:
    """Give the slot back; no event of the visit finds it any more."""
    c.visits[slot, at.V_KEY] = at.NONE
    c.visits[slot, at.V_NEXT] = c.n[at.FREE_VISIT]
    c.n[at.FREE_VISIT] = slot
    c.n[at.VISITS_LEFT] += 1


@inlined
def new_walker(c: City, walk: int, number: int, step: int) -> int:
    """A branch of a journey that is about to be walked."""
    slot = c.n[at.FREE_BRANCH]
    one = c.walkers[slot]
    c.n[at.FREE_BRANCH] = one[at.BR_NEXT]
    c.n[at.BRANCHES_LEFT] -= 1
    one[at.BR_WALK] = walk
    one[at.BR_NUMBER] = number
    one[at.BR_STEP] = step
    one[at.BR_ATTEMPT] = 1
    one[at.BR_LEG] = 0
    one[at.BR_INTENDED] = c.n[at.NOW]
    c.walks[walk, at.WALK_OPEN] += 1
    return slot


@inlined
def free_walker(c: City, slot: int) -> None:
    """The branch has come to its end."""
    c.walkers[slot, at.BR_NEXT] = c.n[at.FREE_BRANCH]
    c.n[at.FREE_BRANCH] = slot
    c.n[at.BRANCHES_LEFT] += 1


@inlined
def close(c: City, walk: int) -> None:
    """One thing less goes on in a journey; with the last one it has ended and is kept."""
    one = c.walks[walk]
    one[at.WALK_OPEN] -= 1
    if one[at.WALK_OPEN] == 0:
        kept = c.ended[c.n[at.ENDED_COUNT]]
        for field in range(at.ENDED_WIDTH):
            kept[field] = one[field]
        c.n[at.ENDED_COUNT] += 1
        one[at.WALK_NEXT] = c.n[at.FREE_WALK]
        c.n[at.FREE_WALK] = walk
        c.n[at.WALKS_LEFT] += 1
