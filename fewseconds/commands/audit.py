"""``fewseconds audit``: is every rupee where it belongs?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fewseconds.commands import console
from fewseconds.errors import EXIT_GATE_FAILED, EXIT_OK

if TYPE_CHECKING:
    from pathlib import Path


def audit(folder: Path, database: str = "", *, as_json: bool) -> int:
    """Audit the ledger of a run; exit code 1 if anything is violated."""
    from mock_psp import auditor

    found = auditor.audit(folder, database)
    passed = all(check.passed for check in found.checks)
    if as_json:
        console.print_json({"folder": str(folder), "passed": passed, **msgspec.to_builtins(found)})
    else:
        for check in found.checks:
            mark = "✓" if check.passed else "✗"
            console.show(
                f"{mark} {check.name}: {check.checked} checked, {check.violations} violations"
            )
            for line in check.first:
                console.show(f"    {line}")
    return EXIT_OK if passed else EXIT_GATE_FAILED
