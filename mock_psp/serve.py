"""Starting the services as processes, watching them, and stopping them together."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final, Self

import msgspec

from fewseconds.errors import HarnessError, UsageError
from fewseconds.identity import Bill
from fewseconds.own_bills import encoded
from mock_psp.clock import monotonic_us
from mock_psp.dlt import Registration
from mock_psp.listening import bound, bound_door, is_ready, make_doors
from mock_psp.spec import (
    EXPOSABLE,
    HOST,
    SERVICES,
    Folder,
    Foreign,
    RunSpec,
    make_secrets,
    write_private,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from fewseconds.scenario import Scenario

READY_S: Final = 60
STOP_S: Final = 5
"""Services drain within 2 s; one that has not ended after this long is killed."""
TAIL_LINES: Final = 15
REPOSITORY: Final = Path(__file__).resolve().parent.parent


class Died(msgspec.Struct, frozen=True):
    """A service that has ended by itself."""

    service: str
    exit_code: int
    """Negative: the number of the signal that killed it."""
    log_tail: str


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What services may have and need not."""

    registrations: tuple[Registration, ...] = ()
    """Who may send SMS beside our own biller, and what."""
    smpp_port: int | None = None
    """The SMS gateway speaks SMPP as well, on this port; 0 means a free one."""
    database: str = ""
    """Address of the PostgreSQL database of the biller's ledger, instead of a file in the folder.
    """
    biller: Foreign | None = None
    """A biller that is not ours, instead of the mock one."""
    biller_secret: str = ""
    """What signs the callbacks to it."""
    listen: str = HOST
    """Address for the payment service and the SMS gateway."""
    allowed: tuple[str, ...] = ()
    """Networks whose requests they take then."""
    public_url: str = ""
    """What others call the payment service."""
    webhook_hosts: tuple[str, ...] = ()
    """Machines other than this one to which webhooks and SMS reports may be sent."""
    entry: tuple[str, ...] = ("-m", "mock_psp.process")
    """What Python runs as a service; tests of the checks put a fault in here."""
    faults_allowed: bool = False
    """Whoever has the token may put faults in force while the services run."""
    bills: tuple[Bill, ...] = ()
    """The mock biller's bills, if they are not to be made from the seed."""
    awaits_start: bool = False
    """What time of the plan it is will be told when somebody begins to play it."""
    sms_paused: bool = False
    """SMS stay in the biller's outbox: what a posting alone costs can be measured."""


NO_OPTIONS: Final = Options()


class Services:
    """The running services of one run; a context manager that stops them all at its end."""

    def __init__(
        self,
        scenario: Scenario,
        seed: int,
        run_folder: Path,
        *,
        ports: Mapping[str, int] = {},
        epoch_monotonic_us: int | None = None,
        plan_origin_us: int = 0,
        only: tuple[str, ...] = SERVICES,
        options: Options = NO_OPTIONS,
    ) -> None:
        """Nothing is started yet.

        ``ports`` gives services their port; 0 or nothing means a free one. At CLOCK_MONOTONIC
        ``epoch_monotonic_us`` (now, if it is not given) the plan's clock shows ``plan_origin_us``.
        All services have a port, and those in ``only`` are started.
        """
        foreign = {"biller"} if options.biller is not None else set()
        self._only = tuple(name for name in SERVICES if name in only and name not in foreign)
        self.scenario, self.seed = scenario, seed
        self.folder = Folder(Path(run_folder).resolve())
        self._wanted, self._options = dict(ports), options
        self._epoch_us = monotonic_us() if epoch_monotonic_us is None else epoch_monotonic_us
        self._origin_us = plan_origin_us
        self._smpp_port = options.smpp_port
        self._doors: dict[str, str] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._starts = dict.fromkeys(SERVICES, 0)
        self.spec: RunSpec
        self.token = ""

    @property
    def urls(self) -> dict[str, str]:
        """Where each service answers that runs, and the biller wherever it is."""
        there = {*self._only, "biller"} if self._options.biller else {*self._only}
        return {name: self.spec.url(name) for name in SERVICES if name in there}

    def pid(self, service: str) -> int:
        """Process id of a service, 0 if it does not run here."""
        process = self._running.get(service)
        return 0 if process is None else process.pid

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of the services that run."""
        return {name: process.pid for name, process in self._running.items()}

    def __enter__(self) -> Self:
        """Start all services; raises HarnessError, with none left running, if one is not ready."""
        sockets: dict[str, socket.socket] = {}
        try:
            for service in SERVICES:
                host = self._options.listen if service in EXPOSABLE else HOST
                sockets[service] = bound(service, self._wanted.get(service, 0), host)
            if self._smpp_port is not None:
                # Only its number is kept: the gateway's start binds it, now and after a crash.
                with bound("smpp", self._smpp_port, self._options.listen) as door:
                    self._smpp_port = door.getsockname()[1]
            self._doors = make_doors(self._only)
            self._write_spec({name: one.getsockname()[1] for name, one in sockets.items()})
            for service in self._only:
                self._start(service, sockets.pop(service))
            self._await_ready(self._only)
        except BaseException:
            for left in sockets.values():
                left.close()
            self.stop()
            raise
        for unused in sockets.values():
            unused.close()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop all services."""
        self.stop()

    def poll(self) -> Died | None:
        """The first service that has ended without being told to, if any has."""
        for service, process in self._running.items():
            if process.poll() is not None:
                return Died(service, process.returncode, self.log_tail(service))
        return None

    def kill(self, service: str) -> None:
        """End a service as a crash does: at once, with nothing put in order."""
        process = self._running.pop(service)
        process.kill()
        process.wait()
        _close(process)

    def restart(self, service: str) -> None:
        """Start a service that has ended again, on its port; returns when it is ready."""
        old = self._running.pop(service, None)
        if old is not None:
            old.wait()
            _close(old)
        host = self._options.listen if service in EXPOSABLE else HOST
        self._start(service, bound(service, self.spec.ports[service], host))
        self._await_ready((service,))

    def stop(self) -> None:
        """Tell the services to stop, callers before those they call; kill those that do not.

        So a callback that is under way still finds its biller, and a posting its SMS gateway.
        """
        for service in SERVICES:
            process = self._running.get(service)
            if process is None:
                continue
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _close(process)
        self._running.clear()
        for door in self._doors.values():
            shutil.rmtree(Path(door).parent, ignore_errors=True)

    def log_tail(self, service: str) -> str:
        """The last lines of what a service has said."""
        path = self.folder.logs / f"{service}.log"
        if not path.exists():
            return ""
        return "\n".join(path.read_text("utf-8", "replace").splitlines()[-TAIL_LINES:])

    def _write_spec(self, ports: dict[str, int]) -> None:
        folder = self.folder
        try:
            folder.logs.mkdir(parents=True, exist_ok=True)
            secrets, secrets_file = (
                make_secrets(self._options.database, self._options.biller_secret),
                folder.root / "secrets.json",
            )
            write_private(secrets_file, msgspec.json.encode(secrets))
            self.token = secrets.token
            self.spec = RunSpec(
                scenario=self.scenario,
                seed=self.seed,
                run_folder=str(folder.root),
                ports=ports,
                doors=self._doors,
                epoch_monotonic_us=self._epoch_us,
                plan_origin_us=self._origin_us,
                secrets_file=str(secrets_file),
                awaits_start=self._options.awaits_start,
                registrations=self._options.registrations,
                smpp_port=self._smpp_port,
                biller=self._options.biller,
                listen=self._options.listen,
                allowed=self._options.allowed,
                public_url=self._options.public_url,
                webhook_hosts=self._options.webhook_hosts,
                sms_paused=self._options.sms_paused,
                faults_allowed=self._options.faults_allowed,
                own_bills=bool(self._options.bills),
            )
            if self._options.bills:
                write_private(folder.bills, encoded(self._options.bills))
            folder.spec.write_bytes(msgspec.json.encode(self.spec))
        except OSError as error:
            message = f"{folder.root}: cannot be written: {error.strerror}; choose another folder"
            raise UsageError(message) from None

    def _start(self, service: str, listening: socket.socket) -> None:
        self._starts[service] += 1
        count = self._starts[service]
        name = service if count == 1 else f"{service}.{count}"
        with contextlib.ExitStack() as stack:
            stack.enter_context(listening)
            descriptors = [listening.fileno()]
            command = [
                sys.executable, *self._options.entry, "--spec", str(self.folder.spec),
                "--service", service, "--socket", str(descriptors[0]), "--process", name,
            ]  # fmt: skip
            if service in self.spec.doors:
                neighbours = stack.enter_context(bound_door(service, self.spec.doors[service]))
                descriptors.append(neighbours.fileno())
                command += ["--door", str(neighbours.fileno())]
            log = stack.enter_context((self.folder.logs / f"{service}.log").open("ab"))
            if service == "sms" and self.spec.smpp_port is not None:
                port, host = self.spec.smpp_port, self._options.listen
                door = stack.enter_context(bound("smpp", port, host))
                descriptors.append(door.fileno())
                command += ["--smpp", str(door.fileno())]
            self._running[service] = self._spawn(command, descriptors, log)

    def _spawn(
        self, command: Sequence[str], descriptors: Sequence[int], log: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """A process of its own that inherits these descriptors; tests fork one instead."""
        # Its standard input is a pipe that only we hold: it closes when we are gone, however we
        # went, and the service then stops too.
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            cwd=REPOSITORY,
            pass_fds=descriptors,
            start_new_session=True,
        )

    def _await_ready(self, services: tuple[str, ...]) -> None:
        deadline_s = time.monotonic() + READY_S
        waiting = list(services)
        while waiting:
            died = self.poll()
            if died is not None:
                raise HarnessError(
                    f"{died.service} (port {self.spec.ports[died.service]}): ended with "
                    f"{died.exit_code} instead of getting ready; see its log:\n{died.log_tail}"
                )
            spec = self.spec
            waiting = [one for one in waiting if not is_ready(spec.ports[one], spec.host(one))]
            if waiting and time.monotonic() > deadline_s:
                raise HarnessError(
                    f"{waiting[0]} (port {self.spec.ports[waiting[0]]}): not ready within "
                    f"{READY_S} s; see its log:\n{self.log_tail(waiting[0])}"
                )
            if waiting:
                time.sleep(0.02)


def start(
    scenario: Scenario,
    seed: int,
    run_folder: Path,
    *,
    ports: Mapping[str, int] = {},
    epoch_monotonic_us: int | None = None,
    plan_origin_us: int = 0,
    only: tuple[str, ...] = SERVICES,
    options: Options = NO_OPTIONS,
) -> Services:
    """The services of a run, started by entering them; arguments as :class:`Services` has them."""
    return Services(
        scenario,
        seed,
        run_folder,
        ports=ports,
        epoch_monotonic_us=epoch_monotonic_us,
        plan_origin_us=plan_origin_us,
        only=only,
        options=options,
    )


def _close(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
