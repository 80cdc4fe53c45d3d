"""How a biller is spoken to: which request stands for which of our words, and back.

Our words are *resolve* (what is owed), *authorise* (may this payment go ahead), *callback* (a
payment reached its end), *receipt* (what became of it), *refund* (money has been given back) and
*reset* (all bills are open again, between runs); a biller need not have them all. An adapter says
for each how the request is written and where in the answer our fields are. It is data (a TOML
file), or one Python file with the functions ``request(operation, fields)`` and
``read(operation, status, body)`` for what data cannot say. ``adapters/fewseconds.toml`` describes
the mock biller itself, in the same form.

A template's ``"{amount_paise}"`` alone stands for the value, with its type; inside a longer text it
is written out. Answers are read at dotted places (``"data.invoice.total"``, ``"items.0.id"``).
"""

from __future__ import annotations

import base64
import importlib.util
import re
import ssl
import tomllib
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol
from urllib.parse import quote

import msgspec

from fewseconds.errors import MalformedError, UsageError
from fewseconds.identity import rupees
from mock_psp.delivery import SIGNATURES

if TYPE_CHECKING:
    from collections.abc import Mapping

Operation = Literal["resolve", "authorise", "callback", "receipt", "refund", "reset"]
OPERATIONS: Final = ("resolve", "authorise", "callback", "receipt", "refund", "reset")
ORDINARY: Final = OPERATIONS[:4]
"""What a Python file is taken to speak unless it says."""
OWN: Final = Path(__file__).parent / "adapters" / "fewseconds.toml"
"""The adapter of the mock biller."""
FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "resolve": ("bill_number", "consumer_number"),
    "authorise": ("transaction_id", "bill_number", "amount_paise", "amount_rupees"),
    "callback": (
        "event_id", "transaction_id", "rrn", "status", "code", "bill_number", "amount_paise",
        "amount_rupees", "payer_vpa",
    ),
    "receipt": ("transaction_id", "bill_number", "rrn"),
    "refund": (
        "event_id", "refund_id", "transaction_id", "rrn", "bill_number", "amount_paise",
        "amount_rupees", "created_s",
    ),
    "reset": (),
}  # fmt: skip
"""What a template may ask for."""
ANSWERS: Final[dict[str, tuple[str, ...]]] = {
    "resolve": ("bill_number", "consumer_number", "amount_paise", "due_on"),
    "authorise": ("approved", "code"),
    "callback": ("duplicate", "posting"),
    "receipt": ("receipt_number", "amount_paise", "posting"),
    "refund": (),
    "reset": (),
}
"""What an answer may say; a biller that does not say something is not checked for it."""
_PLACE: Final = re.compile(r"\{([a-z_]+)\}")


class Request(msgspec.Struct, frozen=True):
    """One HTTP request, ready to be sent to the biller's address."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Reading(msgspec.Struct, frozen=True):
    """What the biller's answer means."""

    accepted: bool
    """It took the request; False is a refusal that it means (4xx), not a failure."""
    status: int
    fields: dict[str, Any] = {}
    """Our fields that the answer has, amounts in whole paise."""


class Place(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a field of ours is in an answer, and how it is written there."""

    at: str
    unit: Literal["", "paise", "rupees"] = ""
    values: dict[str, Any] = {}
    """Their word → ours."""


class Mapped(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One operation in the biller's own words."""

    path: str
    method: Literal["GET", "POST", "PUT", "PATCH"] = "POST"
    headers: dict[str, str] = {}
    body: dict[str, Any] | None = None
    accepted: tuple[int, ...] = (200, 201, 202, 204)
    refused: tuple[int, ...] = ()
    """Statuses that are a refusal; empty means every other 4xx."""
    words: dict[str, dict[str, Any]] = {}
    """Field → our word → theirs, for what the request says."""
    answer: dict[str, str | Place] = {}


class Credentials(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How we say who we are; secrets are read from files, which nobody else should see."""

    header: str = ""
    """Name of a header that holds the secret as it is."""
    scheme: Literal["", "Bearer", "Basic"] = ""
    """Of the ``Authorization`` header; for ``Basic`` the file holds ``user:password``."""
    secret_file: str = ""


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Certificates for mutual TLS, as PEM files."""

    authority: str = ""
    certificate: str = ""
    key: str = ""


class Adapter(Protocol):
    """What both kinds of adapter can do."""

    @property
    def signature(self) -> str:
        """Scheme of the callback's signature, a key of ``delivery.SIGNATURES``."""

    @property
    def tls(self) -> Tls:
        """Certificates to show and to trust."""

    def speaks(self, operation: str) -> bool:
        """Whether the biller has this operation at all."""

    def request(self, operation: str, fields: Mapping[str, object]) -> Request:
        """The request that stands for an operation."""

    def read(self, operation: str, status: int, body: bytes) -> Reading:
        """What an answer means; raises MalformedError if it is not what the adapter says."""


class TomlAdapter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An adapter written as data."""

    signature: str = "standard-webhooks"
    credentials: Credentials = Credentials()
    tls: Tls = Tls()
    resolve: Mapped | None = None
    authorise: Mapped | None = None
    callback: Mapped | None = None
    receipt: Mapped | None = None
    refund: Mapped | None = None
    """A signed webhook, as a callback is."""
    reset: Mapped | None = None
    secret: str = ""
    """Filled in from ``credentials.secret_file``."""

    def _mapped(self, operation: str) -> Mapped:
        found: Mapped | None = getattr(self, operation)
        if found is None:
            raise UsageError(f"adapter: has no [{operation}]; describe it, or leave the check out")
        return found

    def speaks(self, operation: str) -> bool:
        """Whether the biller has this operation at all."""
        return getattr(self, operation) is not None

    def request(self, operation: str, fields: Mapping[str, object]) -> Request:
        """The request that stands for an operation."""
        mapped = self._mapped(operation)
        fields = {
            name: mapped.words.get(name, {}).get(str(value), value)
            for name, value in fields.items()
        }
        headers = {name: str(_filled(text, fields)) for name, text in mapped.headers.items()}
        headers |= self._authorised()
        body = b""
        if mapped.body is not None:
            body = msgspec.json.encode(_filled(mapped.body, fields))
            headers.setdefault("content-type", "application/json")
        escaped = {name: quote(str(value), safe="") for name, value in fields.items()}
        return Request(mapped.method, str(_filled(mapped.path, escaped)), headers, body)

    def read(self, operation: str, status: int, body: bytes) -> Reading:
        """What an answer means; raises MalformedError if it is not what the adapter says."""
        mapped = self._mapped(operation)
        if status not in mapped.accepted:
            refused = status in mapped.refused if mapped.refused else 400 <= status < 500  # noqa: PLR2004
            if not refused:
                raise MalformedError(operation, f"answered {status}, neither accepted nor refused")
            return Reading(accepted=False, status=status)
        if not mapped.answer:
            return Reading(accepted=True, status=status)
        try:
            said = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise MalformedError(operation, f"the answer is not JSON: {error}") from None
        fields = {name: _found(operation, said, place) for name, place in mapped.answer.items()}
        return Reading(accepted=True, status=status, fields=fields)

    def _authorised(self) -> dict[str, str]:
        told = self.credentials
        if told.header:
            return {told.header: self.secret}
        if told.scheme == "Basic":
            return {"authorization": "Basic " + base64.b64encode(self.secret.encode()).decode()}
        return {"authorization": f"{told.scheme} {self.secret}"} if told.scheme else {}


class PythonAdapter:
    """An adapter that is one Python file."""

    def __init__(self, path: Path) -> None:
        """Run the file; raises UsageError if it is not an adapter."""
        spec = importlib.util.spec_from_file_location("fewseconds_adapter", path)
        if spec is None or spec.loader is None:
            raise UsageError(f"{path}: is not a Python file; its name must end in .py")
        self._module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(self._module)
        except Exception as error:
            raise UsageError(
                f"{path}: {type(error).__name__}: {error}; mend the adapter"
            ) from error
        missing = [name for name in ("request", "read") if not hasattr(self._module, name)]
        if missing:
            raise UsageError(f"{path}: has no function {missing[0]!r}; see docs/own_biller.md")
        self.tls = msgspec.convert(getattr(self._module, "TLS", {}), Tls)
        self.signature = str(getattr(self._module, "SIGNATURE", "standard-webhooks"))
        self._operations = tuple(getattr(self._module, "OPERATIONS", ORDINARY))

    def speaks(self, operation: str) -> bool:
        """Whether the biller has this operation at all."""
        return operation in self._operations

    def request(self, operation: str, fields: Mapping[str, object]) -> Request:
        """The request that stands for an operation."""
        return msgspec.convert(self._module.request(operation, dict(fields)), Request)

    def read(self, operation: str, status: int, body: bytes) -> Reading:
        """What an answer means; raises MalformedError if it is not what the adapter says."""
        return msgspec.convert(self._module.read(operation, status, body), Reading)


def load(path: Path = OWN) -> Adapter:
    """Read an adapter; raises UsageError, which names every fault of a TOML file."""
    if path.suffix == ".py":
        made: Adapter = PythonAdapter(path)
    else:
        made = _from_toml(path)
    if made.signature not in SIGNATURES:
        known = ", ".join(SIGNATURES)
        raise UsageError(f"{path}: signature: {made.signature!r} is not one of {known}")
    return made


def _from_toml(path: Path) -> TomlAdapter:
    try:
        told = tomllib.loads(path.read_text("utf-8"))
        adapter = msgspec.convert(told, TomlAdapter)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"{path}: {error}") from None
    problems = [
        f"{path}: [{operation}]: {problem}"
        for operation in OPERATIONS
        if (mapped := getattr(adapter, operation)) is not None
        for problem in _problems(operation, mapped)
    ]
    if adapter.callback is None:
        problems.append(f"{path}: has no [callback]; without it no payment can be posted")
    if problems:
        raise UsageError("\n".join(problems))
    if not adapter.credentials.secret_file:
        return adapter
    secret = path.parent / adapter.credentials.secret_file
    try:
        return msgspec.structs.replace(adapter, secret=secret.read_text("utf-8").strip())
    except OSError as error:
        raise UsageError(f"{secret}: cannot be read: {error.strerror}") from None


def _problems(operation: str, mapped: Mapped) -> list[str]:
    """Fields that a template asks for, or an answer is read for, and that do not exist."""
    written = msgspec.json.encode([mapped.path, mapped.headers, mapped.body]).decode()
    asked = [*_PLACE.findall(written), *mapped.words]
    asked = [name for name in asked if name not in FIELDS[operation]]
    said = [name for name in mapped.answer if name not in ANSWERS[operation]]
    known, sayable = ", ".join(FIELDS[operation]), ", ".join(ANSWERS[operation])
    return [f"{{{name}}} is not one of {known}" for name in asked] + [
        f"answer.{name} is not one of {sayable}" for name in said
    ]


def tls_context(told: Tls) -> ssl.SSLContext:
    """Whom to trust, and the certificate to show; raises UsageError for a file that is none."""
    try:
        context = ssl.create_default_context(cafile=told.authority or None)
        if told.certificate:
            context.load_cert_chain(told.certificate, told.key or None)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"adapter: [tls]: {error}; give PEM files") from None
    return context


def with_rupees(fields: Mapping[str, object]) -> dict[str, object]:
    """Fields with their amount in decimal rupees beside the paise."""
    paise = fields.get("amount_paise")
    return {**fields, "amount_rupees": rupees(paise)} if isinstance(paise, int) else {**fields}


def _filled(template: Any, fields: Mapping[str, object]) -> Any:  # noqa: ANN401 - JSON
    if isinstance(template, dict):
        return {name: _filled(value, fields) for name, value in template.items()}
    if isinstance(template, list):
        return [_filled(value, fields) for value in template]
    if not isinstance(template, str):
        return template
    whole = _PLACE.fullmatch(template)
    if whole is not None:
        return fields.get(whole[1], "")
    return _PLACE.sub(lambda place: str(fields.get(place[1], "")), template)


def _found(operation: str, said: Any, place: str | Place) -> Any:  # noqa: ANN401 - JSON
    """The value at a place of an answer, in our words; None where it says null."""
    told = Place(place) if isinstance(place, str) else place
    value = said
    for part in told.at.split("."):
        try:
            value = value[int(part)] if isinstance(value, list) else value[part]
        except (KeyError, IndexError, ValueError, TypeError):
            raise MalformedError(operation, f"the answer has nothing at {told.at!r}") from None
    if told.values:
        return told.values.get(str(value), value)
    if told.unit and value is not None:
        return _paise(operation, told, value)
    return value


def _paise(operation: str, told: Place, value: object) -> int:
    try:
        paise = Decimal(str(value)) * (100 if told.unit == "rupees" else 1)
    except InvalidOperation:
        raise MalformedError(operation, f"{told.at}: {value!r} is not an amount") from None
    if not paise.is_finite() or paise != int(paise):
        raise MalformedError(operation, f"{told.at}: {value!r} is not a whole number of paise")
    return int(paise)
