"""The pen of a ledger: the one connection that writes, and whether it can.

Whoever holds the pen writes, and nobody else. On PostgreSQL it is a lock of the server's that
belongs to a connection and is gone with it: every new connection takes it before anything else or
is closed at once, so that a writer who was thrown out does not come back beside the one who took
over. In SQLite every transaction locks the file itself.

Nobody who asks whether the ledger can be written to waits for the database: the thread that writes
tries the pen once a second, and tells what it found.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy import event

from mock_psp import database

if TYPE_CHECKING:
    from collections.abc import Iterator

WRITER_LOCK: Final = 0xFE35EC
"""Key of the advisory lock that the writer of a PostgreSQL ledger holds."""
LOOK_S: Final = 1.0
"""How often the pen is tried: *assumption*, soon enough for whoever watches ``/ready``."""
PATIENCE_S: Final = 10.0
"""A database that has not answered for so long counts as away: *assumption*, twice as long as
SQLite waits for a lock."""
TAKEN: Final = "another process writes this ledger; stop it, or wait until it has ended"
_TRIAL: Final = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "SELECT 1"}

log = logging.getLogger(__name__)


class Pen:
    """The connection that writes to a ledger, taken up again whenever it broke."""

    def __init__(self, url: sa.URL) -> None:
        """Nothing is opened before the first :meth:`look`."""
        self._engine = database.engine(url)
        self._place = url.render_as_string(hide_password=True)
        self._file: Path | None = None
        if self._engine.dialect.name == "postgresql":
            event.listen(self._engine, "connect", self._take_lock)
        else:
            self._file = Path(str(url.database))
        self._inode: int | None = None
        self._connection: sa.Connection | None = None
        self._away = "has not been opened"
        self._due_s = 0.0
        self._begun_s: float | None = None

    def unable(self) -> str:
        """Why nothing can be written at this moment; empty if it can. Asks nobody."""
        what, begun_s = self._away, self._begun_s
        waited_s = 0.0 if begun_s is None else time.monotonic() - begun_s
        if not what and waited_s > PATIENCE_S:
            what = f"has not answered for {waited_s:.0f} s"
        return f"{self._place}: {what}" if what else ""

    @property
    def away(self) -> bool:
        """Whether the last look found that nothing can be written."""
        return bool(self._away)

    @property
    def connection(self) -> sa.Connection:
        """What is written with; raises OperationalError while nothing can be."""
        if self._away or self._connection is None:
            raise refused(self.unable())
        return self._connection

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Note that the database has been asked something, until it has answered."""
        self._begun_s = time.monotonic()
        try:
            yield
        finally:
            self._begun_s = None

    def look_when_due(self) -> None:
        """Look if the last time is long ago, or nothing could be written then."""
        if self._away or time.monotonic() >= self._due_s:
            self.look()

    def look(self) -> None:
        """Try whether something could be written, with another connection if the old one broke."""
        why = ""
        try:
            self._try_again()
        except sa.exc.SQLAlchemyError as error:
            why = f"cannot be written to: {database.cause(error)}"
        if why and why != self._away:
            log.error("the ledger cannot be written to", extra={"reason": why})
        elif self._away and not why:
            log.info("the ledger can be written to")
        self._away, self._due_s = why, time.monotonic() + LOOK_S

    def rest(self) -> None:
        """Nobody waits for the writer: do now what would keep somebody waiting later."""
        if not self._away and self._connection is not None:
            try:
                database.fold(self._connection)
            except sa.exc.SQLAlchemyError:
                self.look()

    def close(self) -> None:
        """Put the database in order, and let go."""
        if self._connection is not None:
            with suppress(sa.exc.SQLAlchemyError):
                database.finish(self._connection)
        self._engine.dispose()

    def _try_again(self) -> None:
        try:
            self._try()
        except sa.exc.DBAPIError as error:
            if not error.connection_invalidated:
                raise
            # Thrown out, perhaps long ago: a new connection may find all in order.
            self._try()

    def _try(self) -> None:
        """Raise SQLAlchemyError if nothing can be written."""
        self._check_file()
        if self._connection is None:
            self._connection = self._engine.connect()
        try:
            self._connection.exec_driver_sql(_TRIAL[self._engine.dialect.name])
        finally:
            self._connection.rollback()

    def _check_file(self) -> None:
        """Raise OperationalError if SQLite's file is gone.

        SQLite would go on writing to a file that was moved or removed, where nobody finds the
        payments, and would make an empty one in its place.
        """
        if self._file is None:
            return
        try:
            inode = self._file.stat().st_ino
        except OSError as error:
            raise refused(f"{error.strerror}; put the file back") from None
        if inode != (self._inode or inode):
            raise refused("another file is in its place; put the old one back, or start again")
        self._inode = inode

    def _take_lock(self, connection: Any, _record: object) -> None:  # noqa: ANN401 - psycopg's
        """Take the writer's lock with a new connection, or raise the driver's error.

        SQLAlchemy closes a connection whose first steps failed.
        """
        question = f"SELECT pg_try_advisory_lock({WRITER_LOCK})"
        (taken,) = connection.execute(question).fetchone()
        connection.commit()
        if not taken:
            raise self._engine.dialect.loaded_dbapi.OperationalError(TAKEN)


def refused(why: str) -> sa.exc.OperationalError:
    """The error of an order that could not be carried out, in SQLAlchemy's words."""
    return sa.exc.OperationalError(why, None, RuntimeError(why))
