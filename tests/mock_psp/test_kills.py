"""Kills at any moment under load, and not a rupee lost that anybody was told about."""

from __future__ import annotations

import http.client
import random
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from fewseconds import contracts as c
from mock_psp import auditor
from tests.mock_psp.fork_server import ForkedServices, ForkServer
from tests.mock_psp.scenarios import quick_scenario

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mock_psp.serve import Services
    from tests.mock_psp.conftest import World

WORLDS = 2
KILLS = 50
"""In each world, so a hundred in all."""
PAYERS = 3
SERVICES = ("psp", "biller", "sms")
PORTAL_KILLS = 25
ACCOUNTS = 10
"""At least so many are made meanwhile: a hash takes a tenth of a second, and a kill ends it."""
CONVERGES_S = 60
"""Everything that was under way when the last service was healed is over by then."""


class Payers:
    """Consumers who pay, one bill after the other, whatever happens to the services."""

    def __init__(self, world: World) -> None:
        """Nobody has paid yet."""
        self.world = world
        self.confirmed: dict[int, str] = {}
        self.over = threading.Event()

    def pay(self, first: int) -> None:
        """Pay the bills ``first``, ``first + PAYERS``, …; each until the screen says something."""
        index, attempt = first, 1
        while not self.over.is_set():
            try:
                body = self.world.pay(index, attempt=attempt).body
            except (OSError, http.client.HTTPException, ValueError):
                # The payment service is away, or went while it was answering: the same again.
                time.sleep(0.01)
                continue
            status = body.get("status") if isinstance(body, dict) else None
            if status == "SUCCESS":
                self.confirmed[index] = body["transaction_id"]
            if status in ("SUCCESS", "PENDING"):
                # What is pending stays so until the switch has been asked; the next one pays.
                index, attempt = index + PAYERS, 1
            elif status == "FAILURE":
                attempt += 1


def killed_again_and_again(world: World, seed: int) -> dict[int, str]:
    """Consumer → payment that was confirmed, of a world whose services are killed meanwhile."""
    payers, luck = Payers(world), random.Random(seed)  # noqa: S311 - no secret
    with ThreadPoolExecutor(PAYERS) as pool:
        paying = [pool.submit(payers.pay, 1000 + number) for number in range(PAYERS)]
        for _ in range(KILLS):
            time.sleep(luck.uniform(0.005, 0.060))
            service = luck.choice(SERVICES)
            world.services.kill(service)
            world.services.restart(service)
        payers.over.set()
        for one in paying:
            one.result()
    return payers.confirmed


class Registrants:
    """People who make an account at the portal and log in, whatever happens to it."""

    def __init__(self, world: World) -> None:
        """Nobody has an account yet."""
        self.world = world
        self.made: dict[int, str] = {}
        """Passwords of accounts that were said to be made, by consumer."""
        self.over = threading.Event()

    def register(self, first: int) -> None:
        """Make accounts for every so many consumers, from ``first`` on."""
        index = first
        while not self.over.is_set():
            password = f"the password of {index}"
            account = c.PortalAccount(f"login{index}", password, self.world.bill(index).consumer)
            try:
                status = self.world.ask("POST", "portal", c.PORTAL_REGISTER, account).status
            except (OSError, http.client.HTTPException, ValueError):
                time.sleep(0.01)
                continue
            # Whoever was not told asks again, and finds the account made or makes it.
            assert status == 201
            self.made[index] = password
            index += PAYERS


def settled(world: World, confirmed: dict[int, str]) -> bool:
    """Whether every confirmed payment is posted, and its SMS with the gateway.

    The biller sweeps now, not within the next minute: callbacks may have been given up.
    """
    token = {"fewseconds_token": world.secrets.token}
    assert world.ask("POST", "biller", c.BILLER_SWEEP, **token).status == 200
    ledger = sqlite3.connect(f"file:{world.services.folder.ledger}?mode=ro", uri=True)
    (unsent,) = ledger.execute("SELECT count(*) FROM outbox WHERE sent_us IS NULL").fetchone()
    ledger.close()
    path = c.BILLER_RECEIPTS
    return not unsent and all(
        world.ask("GET", "biller", f"{path}/{name}").status == 200 for name in confirmed.values()
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kills_lose_no_acknowledged_payment(
    enter: Callable[[Services], World], tmp_path: Path
) -> None:
    """Services are killed at any moment under load, and the auditor finds all in order."""
    # A kill does not lose what the system has taken over for the disk, so this shows that nothing
    # is told before it is written, not that the disk keeps it.
    # Callbacks and SMS are tried as often as the scenarios that are shipped say, and no oftener.
    shipped = quick_scenario()
    patience = [shipped.steps[name].attempts_max for name in ("callback", "sms")]
    assert patience == [5, 3]

    def one_world(number: int, server: ForkServer) -> tuple[Path, int]:
        folder = tmp_path / f"world{number}"
        with ForkedServices(server, shipped, 7, folder, only=SERVICES) as services:
            world = enter(services)
            confirmed = killed_again_and_again(world, number)
            deadline_s = time.monotonic() + CONVERGES_S
            while not settled(world, confirmed):
                assert time.monotonic() < deadline_s
                time.sleep(0.2)
        return folder, len(confirmed)

    with ForkServer() as server, ThreadPoolExecutor(WORLDS) as pool:
        worlds = pool.map(one_world, range(WORLDS), [server] * WORLDS)
        for folder, confirmed in worlds:
            audit = auditor.audit(folder)
            assert [(one.name, one.first) for one in audit.checks if not one.passed] == []
            assert confirmed > KILLS


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_kills_of_the_portal_lose_no_account(
    enter: Callable[[Services], World], tmp_path: Path
) -> None:
    """Who was told of an account logs in with its password after the last kill, and sees a bill."""
    luck = random.Random(5)  # noqa: S311 - no secret
    with (
        ForkServer() as server,
        ForkedServices(server, quick_scenario(), 7, tmp_path) as services,
        ThreadPoolExecutor(PAYERS) as pool,
    ):
        world = enter(services)
        people = Registrants(world)
        coming = [pool.submit(people.register, 1000 + number) for number in range(PAYERS)]
        for _ in range(PORTAL_KILLS):
            time.sleep(luck.uniform(0.1, 0.6))
            services.kill("portal")
            services.restart("portal")
        people.over.set()
        for one in coming:
            one.result()
        assert len(people.made) >= ACCOUNTS
        for index, password in people.made.items():
            given = c.PortalLogIn(f"login{index}", password)
            opened = world.ask("POST", "portal", c.PORTAL_LOG_IN, given)
            assert opened.status == 201
            told = {"authorization": f"Bearer {opened.body['token']}"}
            shown = world.ask("GET", "portal", c.PORTAL_BILL, **told)
            assert shown.body["consumer_number"] == world.bill(index).consumer
