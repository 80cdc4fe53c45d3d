"""The ledger's hot statements: written once in the words of its database, then only executed.

They are SQLAlchemy's expressions, so SQLite and PostgreSQL get the same ones. What is spared is
what SQLAlchemy does each time such a statement is executed, which took several times as long as the
database itself: a posting takes ten of them. Errors come out as SQLAlchemy's, connections that
broke are replaced by it, and transactions are its own.
"""

from __future__ import annotations

from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class Written(NamedTuple):
    """A statement in the words of one database."""

    text: str
    parameters: Callable[[Any], Any]
    """From values by name to what the database's driver takes."""


@lru_cache(maxsize=256)
def written(dialect: sa.Dialect, statement: sa.Executable, *columns: str) -> Written:
    """Compile a statement; ``columns`` are those that an INSERT gives."""
    expression: Any = statement
    compiled = expression.compile(dialect=dialect, column_keys=list(columns) or None)
    names = compiled.positiontup
    if names is None:
        return Written(compiled.string, _as_they_are)
    if len(names) == 1:
        (name,) = names
        return Written(compiled.string, lambda values: (values[name],))
    return Written(compiled.string, itemgetter(*names))


def found(
    connection: sa.Connection, statement: sa.Select[Any], values: Mapping[str, object]
) -> list[tuple[Any, ...]]:
    """The rows that a question finds; raises SQLAlchemyError."""
    what = written(connection.dialect, statement)
    cursor = None
    try:
        cursor = connection.connection.cursor()
        cursor.execute(what.text, what.parameters(values))
        rows = cursor.fetchall()
        cursor.close()
    except connection.dialect.loaded_dbapi.Error as error:
        raise _told(connection, what.text, error, cursor) from error
    return list(rows)


def done(
    connection: sa.Connection, statement: sa.Executable, rows: Sequence[Mapping[str, object]]
) -> None:
    """Execute a statement for each of ``rows``; raises SQLAlchemyError."""
    columns = tuple(rows[0]) if isinstance(statement, sa.Insert) else ()
    what = written(connection.dialect, statement, *columns)
    parameters, cursor = [what.parameters(row) for row in rows], None
    try:
        cursor = connection.connection.cursor()
        if len(parameters) == 1:
            cursor.execute(what.text, parameters[0])
        else:
            cursor.executemany(what.text, parameters)
        cursor.close()
    except connection.dialect.loaded_dbapi.Error as error:
        raise _told(connection, what.text, error, cursor) from error


def _as_they_are(values: Mapping[str, object]) -> Mapping[str, object]:
    return values


def _told(
    connection: sa.Connection,
    text: str,
    error: Exception,
    cursor: Any,  # noqa: ANN401 - a driver's
) -> BaseException:
    """A driver's error as SQLAlchemy tells it, without values: they may be personal."""
    dialect: Any = connection.dialect
    broken: Any = connection.connection.dbapi_connection
    if dialect.is_disconnect(error, broken, cursor):
        connection.invalidate(error)
    base = dialect.loaded_dbapi.Error
    return sa.exc.DBAPIError.instance(text, None, error, base, hide_parameters=True)
