"""``fewseconds serve``: the services of the mock world, until somebody has seen enough."""

from __future__ import annotations

import ipaddress
import signal
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.table import Table

from fewseconds import address
from fewseconds.commands import console
from fewseconds.errors import HarnessError, UsageError

if TYPE_CHECKING:
    from types import FrameType

    from mock_psp.serve import Options, Services

LOOK_EVERY_S = 0.5


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the command line says."""

    scenario: str
    seed: int | None = None
    folder: Path | None = None
    port: int = 0
    """First of four ports in a row; 0 means free ones."""
    smpp: int | None = None
    slow: tuple[str, ...] = ()
    database: str = ""
    only: tuple[str, ...] = ()
    biller_url: str = ""
    adapter: Path | None = None
    secret_file: Path | None = None
    allow_host: tuple[str, ...] = ()
    listen: str = ""
    allow_from: tuple[str, ...] = ()
    public_url: str = ""
    faults: bool = False
    bills: Path | None = None
    dlt: Path | None = None
    """What a biller that is not ours has registered with the operators."""


def serve(wanted: Wanted, *, as_json: bool) -> int:
    """Run services until SIGINT or SIGTERM; raises HarnessError if one of them dies.

    Without a folder, a temporary one is used and removed at the end. Raises UsageError, before
    anything is started, for options that do not go together.
    """
    scenario = console.load(wanted.scenario, [*wanted.slow])
    seed = scenario.seed if wanted.seed is None else wanted.seed
    from mock_psp.serve import start
    from mock_psp.spec import SERVICES

    only = _only(wanted)
    options, port = _options(wanted)
    fields = console.header(scenario, seed, "services")
    folder = wanted.folder
    ports = {service: port + place if port else 0 for place, service in enumerate(SERVICES)}
    stop = threading.Event()

    def stopped(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, stopped) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with tempfile.TemporaryDirectory(prefix="fewseconds-") as temporary:
            place = Path(temporary) if folder is None else folder
            with start(scenario, seed, place, ports=ports, only=only, options=options) as services:
                _say(services, place, fields, as_json=as_json)
                _watch(services, stop)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _only(wanted: Wanted) -> tuple[str, ...]:
    """The services that are started."""
    from mock_psp.spec import SERVICES

    strange = [name for name in wanted.only if name not in SERVICES]
    if strange:
        raise UsageError(f"--only: {strange[0]!r} is not one of {', '.join(SERVICES)}")
    only = wanted.only or SERVICES
    if wanted.biller_url and "biller" in wanted.only:
        raise UsageError("--only biller: is started nowhere with --biller-url; leave one out")
    return tuple(only)


def _options(wanted: Wanted) -> tuple[Options, int]:
    """What the services are told, and the first port."""
    from fixtures import bill_file
    from mock_psp import dlt
    from mock_psp.adapter import load
    from mock_psp.secret_file import secret
    from mock_psp.serve import Options
    from mock_psp.spec import HOST, Foreign

    host, port = _listening(wanted)
    foreign, signs = None, ""
    if wanted.biller_url:
        address.check(wanted.biller_url, wanted.allow_host, "--biller-url", address.IN_ADAPTER)
        if wanted.secret_file is None:
            raise UsageError("--biller-url: needs --secret-file, with what signs the callbacks")
        signs = secret(wanted.secret_file)
        if wanted.adapter is not None:
            load(wanted.adapter)
        told = "" if wanted.adapter is None else str(wanted.adapter.resolve())
        foreign = Foreign(wanted.biller_url, told)
    elif wanted.adapter is not None:
        raise UsageError("--adapter: says how the biller of --biller-url is spoken to; give both")
    if wanted.bills is not None and wanted.biller_url:
        raise UsageError("--bills: are the mock biller's; that of --biller-url has its own")
    options = Options(
        bills=tuple(bill_file.read(wanted.bills)) if wanted.bills is not None else (),
        registrations=() if wanted.dlt is None else (dlt.load(wanted.dlt),),
        smpp_port=wanted.smpp,
        database=wanted.database,
        biller=foreign,
        biller_secret=signs,
        listen=host or HOST,
        allowed=wanted.allow_from,
        public_url=wanted.public_url,
        webhook_hosts=wanted.allow_host,
        faults_allowed=wanted.faults,
    )
    return options, port


def _listening(wanted: Wanted) -> tuple[str, int]:
    """Host and first port; raises UsageError unless strangers are kept out."""
    for network in wanted.allow_from:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise UsageError(f"--allow-from: {error}; write 192.0.2.0/24 or ::1/128") from None
    if not wanted.listen:
        return "", wanted.port
    host, _, port = wanted.listen.rpartition(":")
    host = host.strip("[]")
    try:
        address, number = ipaddress.ip_address(host), int(port)
    except ValueError:
        raise UsageError(f"--listen: {wanted.listen!r} is not ADDRESS:PORT") from None
    if not address.is_loopback and not wanted.allow_from:
        raise UsageError(f"--listen {wanted.listen}: say who may come in, with --allow-from CIDR")
    return host, number


def _say(services: Services, folder: Path, fields: dict[str, object], *, as_json: bool) -> None:
    spec = services.spec
    if as_json:
        console.print_json(
            {
                **fields,
                "urls": services.urls,
                "public_url": spec.public,
                "smpp_port": spec.smpp_port,
                "folder": str(folder),
                "secrets_file": spec.secrets_file,
            }
        )
        return
    table = Table("service", "address", "process")
    for service, url in services.urls.items():
        table.add_row(service, url, str(services.pid(service) or "–"))
    if spec.smpp_port is not None:
        table.add_row("sms, SMPP 3.4", f"127.0.0.1:{spec.smpp_port}", str(services.pid("sms")))
    console.out.print(table)
    console.say(f"folder {folder}; the token of the inbox is in secrets.json there; Ctrl-C ends")


def _watch(services: Services, stop: threading.Event) -> None:
    while not stop.wait(LOOK_EVERY_S):
        died = services.poll()
        if died is not None:
            raise HarnessError(
                f"{died.service}: ended by itself with {died.exit_code}; look for the cause in its "
                f"log, which ends\n{died.log_tail}"
            )
