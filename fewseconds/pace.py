"""Arithmetic of time at a station, on whole numbers: stretching, rounding to a grid, tokens.

Plain Python, so that every engine, interpreted or compiled, calls the very same rules.

A bucket of ``burst`` tokens that fills at one token every ``interval_ns`` is kept as one number,
the moment at which it will be full again (the generic cell rate algorithm, ITU-T I.371): a token is
there as long as that moment lies no more than ``slack_ns = (burst - 1) * interval_ns`` ahead.
"""

from __future__ import annotations


def scaled(duration_us: int, milli: int, grid_us: int) -> int:
    """``duration_us`` times ``milli`` thousandths, rounded to the nearest point of the grid."""
    return (duration_us * milli // 1000 + grid_us // 2) // grid_us * grid_us


def token_us(full_ns: int, slack_ns: int, grid_us: int) -> int:
    """The first point of the grid at which there is a token."""
    return -((slack_ns - full_ns) // (1000 * grid_us)) * grid_us


def taken_ns(full_ns: int, interval_ns: int, now_us: int) -> int:
    """When the bucket will be full again after a token was taken out of it now."""
    return max(full_ns, now_us * 1000) + interval_ns
