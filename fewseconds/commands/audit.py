"""``fewseconds audit``: is every rupee where it belongs?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from fewseconds.commands import console
from fewseconds.errors import EXIT_GATE_FAILED, EXIT_OK, UsageError

if TYPE_CHECKING:
    from mock_psp.auditor import Audit


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    places: tuple[str, ...] = ()
    """Folders of runs, files of ledgers, addresses of PostgreSQL databases."""
    database: str = ""
    acks: Path | None = None
    settlement: Path | None = None
    receipts: Path | None = None
    sms_log: Path | None = None


def audit(order: Order, *, as_json: bool) -> int:
    """Audit every place; exit code 1 if anything is violated.

    Raises UsageError if there is nothing to read, HarnessError for a ledger that cannot be read.
    """
    if order.database and len(order.places) > 1:
        raise UsageError("--database: is of one folder; name databases as places instead")
    found = [_audited(order, place) for place in order.places or ("",)]
    passed = all(one.passed for _, one in found)
    if as_json:
        told = [{"place": place, **msgspec.to_builtins(one)} for place, one in found]
        console.print_json({"folder": found[0][0], "passed": passed, **told[0], "audits": told})
    else:
        for place, one in found:
            _show(place, one, heading=len(found) > 1)
    return EXIT_OK if passed else EXIT_GATE_FAILED


def _audited(order: Order, place: str) -> tuple[str, Audit]:
    """One place and its audit; passwords are not in its name."""
    from mock_psp import auditor
    from mock_psp.audit_sources import Files

    files = Files(order.acks, order.settlement, order.receipts, order.sms_log)
    if "://" in place:
        return place.split("://", maxsplit=1)[0] + "://…", auditor.audit(None, place, files)
    path = Path(place) if place else None
    if path is not None and not path.exists():
        raise UsageError(f"{place}: is not there; give a run's folder or a database")
    return place, auditor.audit(path, order.database, files)


def _show(place: str, found: Audit, *, heading: bool) -> None:
    if heading:
        console.show(place)
    for check in found.checks:
        mark = "✓" if check.passed else "✗"
        told = f"{check.checked} checked, {check.violations} violations"
        console.show(f"{mark} {check.invariant:3} {check.name}: {told}")
        for line in check.first:
            console.show(f"    {line}")
    for one in found.unchecked:
        console.show(f"– {one.invariant:3} {one.name}: not checked, {one.why}")
