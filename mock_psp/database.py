"""The database of the ledger: a SQLite file, or PostgreSQL by URL. One set of statements for both.

Commits are durable on both: ``synchronous=FULL`` in SQLite, PostgreSQL's default there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa
from sqlalchemy import event

from fewseconds.errors import HarnessError
from mock_psp import schema as t

if TYPE_CHECKING:
    from mock_psp.spec import Folder

PRAGMAS: Final = (
    "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000",
    "temp_store=MEMORY", "cache_size=-16384", "wal_autocheckpoint=4000",
)  # fmt: skip
"""The writer stands still while the log is folded into the database. At 16 MB, which it reaches
only if it never has a moment's rest (see :func:`fold`), it does so a quarter as often as by
SQLite's default, and a page that was changed many times since is written once."""


def url_of(database: str, folder: Folder) -> sa.URL:
    """The address of a run's ledger: the file in its folder, unless a database is named.

    Raises HarnessError for an address that is neither SQLite's nor PostgreSQL's.
    """
    if not database:
        return sa.URL.create("sqlite", database=str(folder.ledger))
    try:
        url = sa.make_url(database)
        if url.get_backend_name() == "postgresql":
            return url.set(drivername="postgresql+psycopg")
        if url.get_backend_name() == "sqlite" and url.database:
            return url.set(drivername="sqlite", database=str(Path(url.database).resolve()))
    except (sa.exc.SQLAlchemyError, ValueError):
        pass
    message = "database: is not the address of one; write postgresql://user@host/name"
    raise HarnessError(message)


def engine(url: sa.URL) -> sa.Engine:
    """An engine whose commits are durable; connections are opened and closed as they are used."""
    # Errors would otherwise show the values of a row in the log, payment addresses among them.
    made = sa.create_engine(url, poolclass=sa.pool.NullPool, hide_parameters=True)
    if made.dialect.name == "sqlite":

        @event.listens_for(made, "connect")
        def _(connection: Any, _record: Any) -> None:  # noqa: ANN401 - DBAPI objects
            for pragma in PRAGMAS:
                connection.execute(f"PRAGMA {pragma}")

    return made


def prepare(made: sa.Engine, run: str) -> None:
    """Make the tables if need be; raises HarnessError if they hold another run's ledger.

    A run's name is written down the first time, so that a biller that is started again finds its
    ledger, and two runs are never added up.
    """
    try:
        t.LEDGER.create_all(made)
        with made.begin() as connection:
            names = connection.execute(sa.select(t.runs.c.name)).scalars().all()
            if not names:
                connection.execute(sa.insert(t.runs), {"name": run})
    except sa.exc.SQLAlchemyError as error:
        place = made.url.render_as_string(hide_password=True)
        message = f"{place}: cannot be opened: {cause(error)}"
        raise HarnessError(f"{message}; is the server there, and the database?") from None
    if names and list(names) != [run]:
        place = made.url.render_as_string(hide_password=True)
        message = f"{place}: holds the ledger of another run ({names[0]!r}); name an empty database"
        raise HarnessError(message)


def cause(error: sa.exc.SQLAlchemyError) -> str:
    """What the database's driver says, in one line."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def fold(connection: sa.Connection) -> None:
    """Fold what is in SQLite's log into the database; raises SQLAlchemyError.

    All writing and folding is on one connection: SQLite before 3.51.3 could lose the log of a
    database that two of them reset (sqlite.org, WAL-reset bug).
    """
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA wal_checkpoint(PASSIVE)")
        connection.rollback()


def finish(connection: sa.Connection) -> None:
    """Put things in order after the last write, and close."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
