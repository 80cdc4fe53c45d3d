"""What a walk in virtual time gives, whichever engine walked."""

from __future__ import annotations

import msgspec
import pyarrow as pa


class Simulated(msgspec.Struct, frozen=True):
    """What a run in virtual time gave."""

    outcomes: pa.Table
    journeys: int
    events: int
    """Events that changed the state; alarms that found nothing to do are not counted."""
    wall_s: float
