"""What a service is told when it starts, and where in the run's folder things are."""

from __future__ import annotations

import ipaddress
import os
import secrets
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from fewseconds import plan_start
from fewseconds.errors import HarnessError
from fewseconds.scenario import Scenario
from mock_psp.dlt import Registration

SERVICES: Final = ("psp", "biller", "sms", "portal")
"""Callers before those they call."""
SMPP_BYTES: Final = 6
"""Six random bytes are eight characters of a password."""
EXPOSABLE: Final = ("psp", "sms")
"""Services that other machines may be let in to; the ledger and the portal are not among them."""
T = TypeVar("T")
HOST: Final = "127.0.0.1"


class Foreign(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A biller that is not ours."""

    url: str
    adapter: str = ""
    """File that says how it is spoken to; empty if it speaks as the mock biller does."""


class RunSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One run of the services; written as JSON and read by each of them."""

    scenario: Scenario
    seed: int
    run_folder: str
    ports: dict[str, int]
    """Port of each service of :data:`SERVICES` on 127.0.0.1."""
    doors: dict[str, str] = {}
    """Unix socket of each service that runs here: the way in for its neighbours, who are spared
    the network's work. Everybody else comes to the port."""
    epoch_monotonic_us: int
    """CLOCK_MONOTONIC, in microseconds, at the moment when the plan's clock shows …"""
    plan_origin_us: int
    """… this many microseconds since the plan's first midnight."""
    secrets_file: str
    awaits_start: bool = False
    """The plan's clock shows something else as soon as somebody says so in ``Folder.start``."""
    webhook_hosts: tuple[str, ...] = ()
    """Machines other than this one that webhooks may be sent to, by name or address."""
    sms_paused: bool = False
    """SMS stay in the biller's outbox."""
    faults_allowed: bool = False
    """Whoever has the token may put faults in force while the services run."""
    own_bills: bool = False
    """The mock biller's bills are those of ``bills.private``, not made from the seed."""
    registrations: tuple[Registration, ...] = ()
    """Who may send SMS beside our own biller, and what."""
    smpp_port: int | None = None
    """Port of the SMS gateway's SMPP door, if it has one."""
    biller: Foreign | None = None
    """The biller that the payment service talks to, if it is not the mock one."""
    listen: str = HOST
    """Address that the payment service and the SMS gateway listen on."""
    allowed: tuple[str, ...] = ()
    """Networks, apart from this machine, whose requests those two take."""
    public_url: str = ""
    """What others call the payment service, where that is not the address it listens on."""

    @property
    def run_name(self) -> str:
        """What tells this run's ledger from another's: it is the same after a restart."""
        return f"{self.scenario.name} seed {self.seed} at {self.epoch_monotonic_us}"

    @property
    def real_dates(self) -> bool:
        """Whether the date is today's, as bills that are not made from the seed need it."""
        return self.own_bills or self.biller is not None

    @property
    def folder(self) -> Folder:
        """The folder of the run."""
        return Folder(self.run_folder)

    @property
    def public(self) -> str:
        """Where others reach the payment service."""
        return self.public_url.rstrip("/") or self.url("psp")

    def url(self, service: str) -> str:
        """Where ``service`` answers."""
        if service == "biller" and self.biller is not None:
            return self.biller.url
        return f"http://{self.host(service)}:{self.ports[service]}"

    def doors_by_url(self) -> dict[str, str]:
        """Unix sockets by the beginning of the URLs that they stand for."""
        return {
            f"http://{self.host(service)}:{self.ports[service]}": path
            for service, path in self.doors.items()
        }

    def host(self, service: str) -> str:
        """The address of this machine at which ``service`` answers our own requests."""
        anywhere = self.listen in ("0.0.0.0", "::")  # noqa: S104 - asked for by the person
        return HOST if anywhere or service not in EXPOSABLE else self.listen

    def networks(
        self, service: str
    ) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] | None:
        """The networks that ``service`` takes requests from; None is whoever reaches it."""
        if service not in EXPOSABLE or self.listen == HOST:
            return None
        # Our own services come from the address that is listened on.
        own = () if self.host(service) == HOST else (self.host(service),)
        return tuple(ipaddress.ip_network(name) for name in (*self.allowed, *own))


class Folder:
    """The places inside a run's folder."""

    def __init__(self, root: str | Path) -> None:
        """Nothing is made yet."""
        self.root = Path(root)
        self.spec = self.root / "services.json"
        self.start = self.root / plan_start.NAME
        self.outcomes = self.root / "outcomes"
        self.ledger = self.root / "ledger.sqlite3"
        self.journal = self.root / "journal.jsonl"
        self.payers = self.root / "payers.private"
        self.messages = self.root / "messages.jsonl"
        self.texts = self.root / "messages.private"
        self.merchant = self.root / "merchant.jsonl"
        self.calendar = self.root / "calendar.txt"
        self.bills = self.root / "bills.private"
        self.accounts = self.root / "accounts.private"
        self.acknowledgements = self.root / "acknowledgements"
        self.receipts = self.root / "receipts.jsonl"
        self.logs = self.root / "logs"


class Secrets(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What services must know and nobody may read; made anew for every run."""

    token: str
    """Opens what only tests may see (a handset's inbox)."""
    callback_keys: tuple[str, ...]
    """Keys of the callback's signature, newest first, in hexadecimal: all are accepted, the first
    one signs."""
    merchant_key_id: str
    """User name of the merchant's API …"""
    merchant_key_secret: str
    """… and its password."""
    bbps_token: str
    """What the bill-payment platform shows at the biller's BBPS doors."""
    smpp_password: str
    """Eight characters, the most that SMPP 3.4 has room for."""
    database: str = ""
    """Address of the biller's database, which may hold a password; empty for a file in the folder.
    """
    biller: str = ""
    """What signs the callbacks to a biller that is not ours, as its dashboard has it."""

    def keys(self) -> tuple[bytes, ...]:
        """The callback keys as bytes."""
        return tuple(bytes.fromhex(key) for key in self.callback_keys)


def make_secrets(database: str = "", biller: str = "") -> Secrets:
    """Fresh secrets of 256 bits, beside those that were given."""
    key_id = f"rzp_test_{secrets.token_hex(7)}"
    return Secrets(
        token=secrets.token_urlsafe(32),
        callback_keys=(secrets.token_hex(32),),
        merchant_key_id=key_id,
        merchant_key_secret=secrets.token_urlsafe(24),
        bbps_token=secrets.token_urlsafe(32),
        smpp_password=secrets.token_urlsafe(SMPP_BYTES),
        database=database,
        biller=biller,
    )


def forget_given(path: Path) -> None:
    """Take what a person has entrusted to a run out of its file of secrets.

    What was made for the run opens nothing once its services have ended; the rest opens somebody
    else's, and results are kept and passed on.
    """
    if path.exists():
        told = msgspec.json.decode(path.read_bytes(), type=Secrets)
        write_private(path, msgspec.json.encode(msgspec.structs.replace(told, biller="")))


def write_private(path: Path, content: bytes) -> None:
    """Write a file that nobody but its owner may read, not even for a moment."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(content)


def read_spec(path: Path) -> RunSpec:
    """Read a run spec; raises HarnessError if it is not one."""
    return _read(path, RunSpec)


def read_secrets(spec: RunSpec) -> Secrets:
    """Read the secrets of a run; raises HarnessError if they are not there."""
    return _read(Path(spec.secrets_file), Secrets)


def _read(path: Path, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        message = f"{path}: cannot be read: {error}; start the services with `fewseconds serve`"
        raise HarnessError(message) from None
