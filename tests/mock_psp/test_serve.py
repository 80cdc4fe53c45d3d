"""Starting, watching and stopping the services."""

from __future__ import annotations

import datetime as dt
import json
import signal
import socket
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec
import psutil
import pytest
import sqlalchemy as sa

from fewseconds import contracts as c
from fewseconds.errors import HarnessError
from fewseconds.identity import IST, Bill
from fixtures import bills, qr
from mock_psp import auditor
from mock_psp import schema as t
from mock_psp.journal import entries
from mock_psp.listening import bound, is_ready
from mock_psp.serve import Options, Services
from mock_psp.spec import SERVICES
from tests.mock_psp.scenarios import moody_scenario

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fewseconds.scenario import Scenario
    from tests.mock_psp.conftest import Crashed, World

STARTER = """
import sys, time
from pathlib import Path
from fewseconds import scenario_file
from mock_psp.serve import Services
with Services(scenario_file.load("smoke"), 7, Path(sys.argv[1]), only=("sms",)) as services:
    print(services.pid("sms"), flush=True)
    time.sleep(60)
"""


def gone(pid: int) -> bool:
    """Whether a process has ended (a zombie has)."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def test_a_busy_port_is_named(quick: Callable[..., Scenario], tmp_path: Path) -> None:
    """Nothing is started when a port is taken, and the message says which service wanted it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(HarnessError, match=rf"^biller \(port {port}\): .*choose another"):
            Services(quick(), 7, tmp_path, ports={"biller": port}).__enter__()
    assert not list(tmp_path.glob("logs/*"))


def test_a_service_that_cannot_start_is_named_with_its_log(
    quick: Callable[..., Scenario], tmp_path: Path
) -> None:
    """A ledger that is no database ends the biller, and its log says so; nothing is left over."""
    (tmp_path / "ledger.sqlite3").write_bytes(b"no database at all" * 100)
    services = Services(quick(), 7, tmp_path, only=("biller", "sms"))
    with pytest.raises(HarnessError, match=r"(?s)^biller \(port \d+\): ended .*not a database"):
        services.__enter__()
    assert not is_ready(services.spec.ports["sms"])


def test_services_stop_when_told_and_leave_everything_written(crashed: Crashed) -> None:
    """A stop ends every process with 0 and leaves whole files, private secrets and a free port."""
    folder = crashed.folder
    assert crashed.exit_codes == {"psp": 0, "biller": 0, "sms": 0}
    assert {"psp.parquet", "biller.3.parquet", "sms.2.parquet"} <= {
        path.name for path in folder.outcomes.iterdir()
    }
    assert not list(folder.outcomes.glob("*.writing"))
    assert all(path.stat().st_size == 0 for path in folder.root.glob("*-wal"))
    for path in (folder.root / "secrets.json", folder.journal, folder.messages):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    bound("biller", crashed.services.spec.ports["biller"]).close()


def test_a_service_that_dies_is_noticed(crashed: Crashed) -> None:
    """The watcher names the dead service and the signal that killed it."""
    assert (crashed.died.service, crashed.died.exit_code) == ("sms", -signal.SIGKILL)


def test_services_do_not_outlive_a_killed_parent(repository: Path, tmp_path: Path) -> None:
    """When whoever started the services is killed, they end by themselves."""
    command = [sys.executable, "-c", STARTER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=repository) as parent:
        assert parent.stdout is not None
        service = int(parent.stdout.readline())
        assert not gone(service)
        parent.kill()
    while not gone(service):
        time.sleep(0.02)


def test_the_command_serves_until_it_is_told_to_stop(repository: Path, tmp_path: Path) -> None:
    """One JSON object says where everything is; SIGTERM ends the command and all services."""
    arguments = ["serve", "smoke", "--json", "--folder", str(tmp_path), "--slow", "biller=2"]
    command = [sys.executable, "-c", "from fewseconds.cli import main; main()", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=repository
    ) as process:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        ports = {service: int(url.rpartition(":")[2]) for service, url in said["urls"].items()}
        assert list(ports) == ["psp", "biller", "sms", "portal"]
        assert all(is_ready(port) for port in ports.values())
        process.terminate()
        rest, _ = process.communicate()
    assert (process.returncode, rest) == (0, b"")
    assert not any(is_ready(port) for port in ports.values())
    assert {"seed", "scenario", "scenario_hash", "engine", "commit"} <= set(said)


def test_a_payment_under_way_is_answered_before_the_service_ends(
    enter: Callable[[Services], World], tmp_path: Path
) -> None:
    """Told to stop, it takes no more requests, brings what it has to an end, and ends with 0."""
    with Services(moody_scenario(), 7, tmp_path) as services:
        world = enter(services)
        with ThreadPoolExecutor(1) as pool:
            # HDFC answers no debit, so that this takes as long as the limit.
            paid = pool.submit(world.pay, 1, bank="HDFC")
            world.until(lambda: any(True for _ in entries(services.folder.journal)))
            processes = dict(services._running)
            services.stop()
            answer = paid.result()
        assert (answer.status, answer.body["code"]) == (200, "U67")
        assert {process.returncode for process in processes.values()} == {0}
        assert not is_ready(services.spec.ports["psp"])
    found = auditor.audit(tmp_path)
    assert [check.first for check in found.checks if not check.passed] == []


def test_no_secret_is_in_the_list_of_processes(
    quick: Callable[..., Scenario],
    enter: Callable[[Services], World],
    tmp_path: Path,
    postgresql: sa.URL,
) -> None:
    """Command lines and environments hold no key, no token and no password of the database."""
    # A server on a socket of ours asks for none, so it may be any.
    password = whsec = "a-password-that-nobody-may-see"  # noqa: S105 - a word to look for
    address = postgresql.set(password=password).render_as_string(hide_password=False)
    given = Options(database=address, biller_secret=whsec, smpp_port=0)
    try:
        with Services(quick(), 7, tmp_path, options=given) as services:
            told = msgspec.to_builtins(enter(services).secrets)
            keys = told.pop("callback_keys")
            hidden = [password, *keys, *(text for text in told.values() if text)]
            assert len(hidden) == 9
            assert list(services.pids) == list(SERVICES)
            for pid in services.pids.values():
                family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
                for one in family:
                    said = " ".join(one.cmdline())
                    assert str(services.folder.spec) in said
                    said += " ".join(f"{name}={text}" for name, text in one.environ().items())
                    assert [text for text in hidden if text in said] == []
    finally:
        engine = sa.create_engine(postgresql, poolclass=sa.pool.NullPool)
        t.LEDGER.drop_all(engine)
        engine.dispose()


def test_services_know_exactly_the_bills_of_a_file(
    quick: Callable[..., Scenario], enter: Callable[[Services], World], tmp_path: Path
) -> None:
    """Given bills, the mock biller shows and takes these, by number and consumer, and no others."""
    due = dt.datetime.now(IST).date() + dt.timedelta(days=10)
    own = (
        Bill(0, "INV-1", "A-1", 12_345, 0, due, due, "+910500000001"),
        Bill(1, "INV-2", "A-1", 999, 0, due, due),
    )
    options = Options(bills=own)
    with Services(quick(), 7, tmp_path, options=options) as services:
        world = enter(services)
        assert stat.S_IMODE((tmp_path / "bills.private").stat().st_mode) == 0o600
        asked = c.ResolveRequest("phonepe", qr.bill_uri(7, own[1]))
        shown = world.ask("POST", "psp", c.RESOLVE, asked).body
        assert (shown["bill_number"], shown["amount_paise"]) == ("INV-2", 999)
        typed = world.ask("POST", "psp", c.RESOLVE, c.ResolveRequest("phonepe", "", "A-1")).body
        assert (typed["bill_number"], typed["amount_paise"]) == ("INV-1", 12_345)
        strange = c.ResolveRequest("phonepe", qr.bill_uri(7, bills.bill(7, 3)))
        assert world.ask("POST", "psp", c.RESOLVE, strange).status == 404
        paid = world.pay(3, bill_number="INV-1", amount_paise=12_345).body
        assert paid["status"] == "SUCCESS"
        # The message goes where the file says.
        path = f"{c.INBOX}/+910500000001?reference={paid['transaction_id']}&wait_ms=5000"
        inbox = world.ask("GET", "sms", path, fewseconds_token=services.token).body
        assert "INV-1" in inbox["messages"][0]["text"]
    assert [one.first for one in auditor.audit(tmp_path).checks if not one.passed] == []
