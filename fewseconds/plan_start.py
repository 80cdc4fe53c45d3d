"""The moment at which a plan begins: told by whoever leads its generators, read by the services.

Services are started before anybody knows how long a generator takes to get ready, and what happens
at a certain time (a fault, opening hours, a burst of errors) must happen then to them as well. The
word is a file in the run's folder, so it is there for a service that is started again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from fewseconds.errors import HarnessError

if TYPE_CHECKING:
    from pathlib import Path

NAME: Final = "plan_start.json"


class Start(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When the plan's clock shows 0."""

    epoch_monotonic_us: int
    """By CLOCK_MONOTONIC, which all processes of a host share, in microseconds; may be negative."""


def tell(path: Path, epoch_monotonic_us: int) -> None:
    """Say when; whoever looks finds all of it or nothing."""
    half = path.with_suffix(".writing")
    half.write_bytes(msgspec.json.encode(Start(epoch_monotonic_us)))
    half.replace(path)


def told(path: Path) -> int | None:
    """When it is, None as long as nobody has said so; raises HarnessError if it is unreadable."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Start).epoch_monotonic_us
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        message = f"{path}: does not say when the plan begins: {error}; start the run again"
        raise HarnessError(message) from None
