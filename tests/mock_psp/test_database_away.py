"""A database that goes away takes nobody's money with it, and the biller finds it again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec
import pytest
import sqlalchemy as sa

from fewseconds import contracts as c
from fewseconds.identity import transaction_id
from mock_psp.serve import Options, Services
from tests.mock_psp.conftest import SEED, World
from tests.mock_psp.databases import address
from tests.mock_psp.scenarios import quick_scenario

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "away"


@pytest.fixture(params=["postgresql"])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """A biller whose ledger is on a server that can be stopped from answering it."""
    options = Options(database=address(request, NAME))
    folder = tmp_path_factory.mktemp(NAME)
    with Services(quick_scenario(), SEED, folder, only=("biller",), options=options) as services:
        yield World(services)


def let_in(postgresql: sa.URL, allowed: str) -> None:
    """Let nobody into the biller's database, and throw out who is there; or open it again."""
    engine = sa.create_engine(postgresql, isolation_level="AUTOCOMMIT", poolclass=sa.pool.NullPool)
    thrown_out = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '%s'"
    with engine.connect() as connection:
        connection.exec_driver_sql(f"ALTER DATABASE {NAME} WITH ALLOW_CONNECTIONS {allowed}")
        if allowed == "false":
            connection.execute(sa.text(thrown_out % NAME)).all()
    engine.dispose()


def asked(world: World, callback: c.Callback) -> list[tuple[str, int]]:
    """What the biller answers to each party that needs its ledger."""
    query = c.Authorisation(callback.transaction_id, callback.bill_number, callback.amount_paise)
    token = {"authorization": f"Bearer {world.secrets.bbps_token}"}
    named = [{"attributeName": "Consumer Number", "attributeValue": world.bill(9).consumer}]
    fetched = msgspec.json.encode({"customerIdentifiers": named})
    receipt = f"{c.BILLER_RECEIPTS}/{callback.transaction_id}"
    replies = {
        "authorise": world.ask("POST", "biller", c.BILLER_AUTHORISE, query),
        "callback": world.call_back(callback),
        "receipt": world.ask("GET", "biller", receipt),
        "bbps": world.ask("POST", "biller", "/bills/fetch", fetched, **token),
    }
    return [(name, reply.status) for name, reply in replies.items()]


def test_without_its_database_the_biller_says_so_and_goes_on_when_it_is_back(
    world: World, postgresql: sa.URL
) -> None:
    """503 to every party, never 500, and ``/ready`` names what is away; then all are answered."""
    before, after = (world.callback(9, transaction_id("ABC", 1, 9, turn)) for turn in (1, 2))
    good = [("authorise", 200), ("callback", 200), ("receipt", 200), ("bbps", 200)]
    assert asked(world, before) == good
    let_in(postgresql, "false")
    for _ in range(2):
        assert asked(world, after) == [(name, 503) for name, _ in good]
    away = world.ask("GET", "biller", c.READY)
    assert (away.status, away.content_type) == (503, "application/problem+json")
    assert re.search(rf"@/{NAME}\b.*: cannot be written to: ", away.body["detail"])
    let_in(postgresql, "true")
    world.until(lambda: world.ask("GET", "biller", c.READY).status == 200)
    assert asked(world, after) == good
    # Paid twice: the second is what its payer gets back.
    found = world.rows("SELECT status FROM payments ORDER BY status")
    assert found == [("CREDITED",), ("REFUND_DUE",)]
