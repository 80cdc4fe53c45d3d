"""``fewseconds serve``: the services of the mock world, until somebody has seen enough."""

from __future__ import annotations

import signal
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from fewseconds.commands import console
from fewseconds.errors import HarnessError

if TYPE_CHECKING:
    from types import FrameType

    from mock_psp.serve import Services

LOOK_EVERY_S = 0.5


def serve(
    name: str,
    seed: int | None,
    folder: Path | None,
    port: int,
    smpp: int | None,
    slow: list[str],
    database: str = "",
    *,
    as_json: bool,
) -> int:
    """Run all services until SIGINT or SIGTERM; raises HarnessError if one of them dies.

    With ``port`` 0 each has a free port, else they have four in a row. Without a folder, a
    temporary one is used and removed at the end.
    """
    scenario = console.load(name, slow)
    seed = scenario.seed if seed is None else seed
    fields = console.header(scenario, seed, "services")
    from mock_psp.serve import Options, start
    from mock_psp.spec import SERVICES

    ports = {service: port + place if port else 0 for place, service in enumerate(SERVICES)}
    stop = threading.Event()

    def stopped(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, stopped) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with tempfile.TemporaryDirectory(prefix="fewseconds-") as temporary:
            place = Path(temporary) if folder is None else folder
            options = Options(smpp, database)
            with start(scenario, seed, place, ports=ports, options=options) as services:
                _say(services, place, fields, as_json=as_json)
                _watch(services, stop)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 0


def _say(services: Services, folder: Path, fields: dict[str, object], *, as_json: bool) -> None:
    spec = services.spec
    if as_json:
        console.print_json(
            {
                **fields,
                "urls": services.urls,
                "smpp_port": spec.smpp_port,
                "folder": str(folder),
                "secrets_file": spec.secrets_file,
            }
        )
        return
    table = Table("service", "address", "process")
    for service, url in services.urls.items():
        table.add_row(service, url, str(services.pid(service)))
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
