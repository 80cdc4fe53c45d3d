"""The auditor: does the ledger of a run agree with everything else that was written down?

It shares no code with the ledger's writer. It reads the database, the payer side's journal, the
gateway's log, the outcomes, and what payers were told, puts them side by side in one SQLite session
(``audit_sources``) and asks the questions of ``audit_rules`` and ``audit_outside``. A question
whose source is not there is not answered, and that is said: without a database, what payers were
told, the settlement file, receipts and the SMS log answer as many as they can.
"""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from fewseconds.errors import HarnessError, UsageError
from mock_psp.audit_outside import FILE, SETTLED, TOLD, VOUCHED
from mock_psp.audit_rules import RULES, Rule
from mock_psp.audit_sources import NO_FILES, Files, Session
from mock_psp.database import url_of
from mock_psp.spec import Folder, read_secrets, read_spec

if TYPE_CHECKING:
    from collections.abc import Iterator

FIRST: Final = 5
"""How many violations of a rule are named."""
LEDGER: Final = frozenset(
    {"payments", "bills", "lines", "receipts", "outbox", "refunds", "callbacks", "alarms"}
)
SOURCES: Final = {
    "ledger": "the biller's ledger: give its database",
    "journal": "the payment service's journal: give the folder of a run with ours",
    "messages": "the SMS gateway's log: give --sms-log",
    "endings": "what became of each SMS: give the folder of a run with our gateway",
    "seen": "the outcomes of phones: give the folder of a run",
    "printed": "what the bills say: give the folder of a run",
    "told": "what payers were told: give --acks",
    "settled": "the settlement file: give --settlement",
    "vouched": "receipts of the biller: give --receipts",
    "leaks": "what a run has written: give its folder",
}
_TEXT: Final = re.compile(r"'[^']*'")
_WORD: Final = re.compile(r"[a-z_]+")


class Check(msgspec.Struct, frozen=True):
    """One rule, judged."""

    name: str
    checked: int
    violations: int
    first: tuple[str, ...]
    """The first violations, in words."""
    passed: bool
    invariant: str = ""
    """The invariant that it stands for, ``I1`` to ``I12``."""


class Unchecked(msgspec.Struct, frozen=True):
    """One rule that nothing was there to judge by."""

    name: str
    invariant: str
    why: str


class Audit(msgspec.Struct, frozen=True):
    """All rules, judged, and those that could not be."""

    checks: tuple[Check, ...]
    unchecked: tuple[Unchecked, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether no rule is broken."""
        return all(check.passed for check in self.checks)


def audit(place: Path | None, database: str = "", files: Files = NO_FILES) -> Audit:
    """Judge a run: its folder, the file of a ledger, or neither, with what is given beside it.

    The ledger is where the run says, unless ``database`` is the address of another. Raises
    HarnessError if the folder of our own biller holds no ledger, or what is there cannot be read;
    UsageError if there is nothing to read.
    """
    folder = Folder(place.resolve()) if place is not None and not place.is_file() else None
    ledger = place if place is not None and place.is_file() else None
    session = Session()
    try:
        if database or ledger is not None:
            if ledger is not None:
                session.attach(ledger.resolve())
            else:
                session.copy(url_of(database, folder or Folder(Path())))
        elif folder is not None:
            _find_ledger(session, folder)
        elif not files.any:
            raise UsageError("audit: nothing to read; give a run's folder, a database or --acks")
        if folder is not None:
            session.read_folder(folder)
        session.read_files(files, folder)
        return _judged_all(session)
    except sqlite3.Error as error:
        what = ledger or (folder.ledger if folder is not None else database)
        message = f"{what}: cannot be read: {error}; is it the ledger of a run?"
        raise HarnessError(message) from None
    finally:
        session.sqlite.close()


def needs(rule: Rule) -> frozenset[str]:
    """The sources that a rule reads, told from its statements; excuses are none."""
    words = set(_WORD.findall(_TEXT.sub("", f"{rule.counted} {rule.broken}")))
    found = words & set(SOURCES)
    return frozenset(found | {"ledger"} if words & LEDGER else found)


def _find_ledger(session: Session, folder: Folder) -> None:
    """The ledger of a run in its folder; none if the run's biller was somebody else's."""
    address = ""
    if folder.spec.exists():
        spec = read_spec(folder.spec)
        address = read_secrets(spec).database if Path(spec.secrets_file).exists() else ""
    if address:
        session.copy(url_of(address, folder))
    elif folder.ledger.exists():
        session.attach(folder.ledger)
    elif (folder.logs / "biller.log").exists() or not folder.acknowledgements.exists():
        message = f"{folder.root}: holds no ledger; give the folder of a run that had services"
        raise HarnessError(message)


def _judged_all(session: Session) -> Audit:
    checks, unchecked = [], []
    for rule in _asked(session):
        missing = sorted(needs(rule) - session.sources)
        if missing:
            why = "needs " + "; needs ".join(SOURCES[one] for one in missing)
            unchecked.append(Unchecked(rule.name, rule.invariant, why))
        else:
            checks.append(judged(session.sqlite, rule))
    return Audit(tuple(checks), tuple(unchecked))


def _asked(session: Session) -> Iterator[Rule]:
    """The rules that are asked: a ledger knows better than receipts do."""
    yield from RULES
    if "ledger" not in session.sources:
        yield from (*TOLD, *SETTLED, *VOUCHED)
        return
    if "told" in session.sources:
        yield from TOLD
        yield from SETTLED if "settled" in session.sources else ()
    if session.own_settlement:
        yield from FILE


def judged(session: sqlite3.Connection, rule: Rule) -> Check:
    """Ask one rule of what a session has read."""
    (checked,) = session.execute(rule.counted).fetchone()
    violations = [str(text) for (text,) in session.execute(rule.broken)]
    first = tuple(violations[:FIRST])
    return Check(rule.name, checked or 0, len(violations), first, not violations, rule.invariant)
