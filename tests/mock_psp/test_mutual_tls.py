"""A biller behind mutual TLS, with an authority and certificates made for the test."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import runpy
import ssl
import threading
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from werkzeug.serving import make_server

from fewseconds.commands.conform import Options, conform
from fixtures import bills
from mock_psp import serve
from mock_psp.spec import Foreign

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fewseconds.scenario import Scenario
    from tests.mock_psp.conftest import World

HERE = Path(__file__).parent
SECRET, KEY = "what was typed into the dashboard", "the key of the API"
SEED = 7


class Authority:
    """Whoever signs the certificates of a test."""

    def __init__(self, folder: Path, name: str) -> None:
        """Write its own certificate."""
        self.folder, self.name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._made = self._signed(name, self._key, None)
        self.path = folder / f"{name}.pem"
        self.path.write_bytes(self._made.public_bytes(serialization.Encoding.PEM))

    def certificate(self, name: str, usage: x509.ObjectIdentifier) -> tuple[Path, Path]:
        """A certificate for 127.0.0.1 and its key, as files."""
        key = ec.generate_private_key(ec.SECP256R1())
        paths = self.folder / f"{self.name}-{name}.pem", self.folder / f"{self.name}-{name}.key"
        paths[0].write_bytes(
            self._signed(name, key, usage).public_bytes(serialization.Encoding.PEM)
        )
        paths[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return paths

    def _signed(
        self, name: str, key: ec.EllipticCurvePrivateKey, usage: x509.ObjectIdentifier | None
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        identifier = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        built = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=usage is None, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier),
                critical=False,
            )
        )
        if usage is None:
            built = built.add_extension(identifier, critical=False)
        else:
            address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
            built = built.add_extension(x509.SubjectAlternativeName([address]), critical=False)
            built = built.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return built.sign(self._key, hashes.SHA256())


class Guarded(NamedTuple):
    """A biller that wants to see a certificate, and the files to reach it."""

    folder: Path
    url: str
    books: Any
    authority: Authority

    def adapter(self, tls: dict[str, Path]) -> Path:
        """The Flask biller's adapter with these certificates."""
        path = self.folder / "biller.toml"
        lines = "".join(f"{name} = {json.dumps(str(file))}\n" for name, file in tls.items())
        text = (HERE / "flask_biller.toml").read_text("utf-8")
        path.write_text(f"{text}\n[tls]\n{lines}", "utf-8")
        return path

    def known(self) -> dict[str, Path]:
        """The certificates that it wants."""
        certificate, key = self.authority.certificate("client", ExtendedKeyUsageOID.CLIENT_AUTH)
        return {"authority": self.authority.path, "certificate": certificate, "key": key}


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    """The Flask biller over TLS; who has no certificate of its authority is not let in."""
    authority = Authority(tmp_path, "authority")
    certificate, key = authority.certificate("server", ExtendedKeyUsageOID.SERVER_AUTH)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(authority.path)
    context.verify_mode = ssl.CERT_REQUIRED
    soon = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=10)
    made = [bills.bill(SEED, index) for index in range(60)]
    dues = {one.number: (one.consumer, Decimal(one.amount_paise) / 100, soon) for one in made}
    lines = [f"{one.number},{one.consumer},{one.amount_paise},{soon}" for one in made]
    head = "bill_number,consumer_number,amount_paise,due_on"
    (tmp_path / "bills.csv").write_text("\n".join([head, *lines]), "utf-8")
    (tmp_path / "key.txt").write_text(KEY, "utf-8")
    (tmp_path / "secret.txt").write_text(SECRET, "utf-8")
    told = runpy.run_path(str(HERE / "flask_biller.py"))
    app = told["application"](dues, secret=SECRET, key=KEY)
    server = make_server("127.0.0.1", 0, app, threaded=True, ssl_context=context)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"https://127.0.0.1:{server.server_port}"
    yield Guarded(tmp_path, url, app.extensions["books"], authority)
    server.shutdown()
    server.server_close()


def conformed(place: Guarded, tls: dict[str, Path]) -> int:
    """The exit code of a conformance check."""
    options = Options(
        url=place.url, scenario="smoke", seed=None, bills=place.folder / "bills.csv",
        adapter=place.adapter(tls), secret_file=place.folder / "secret.txt",
        allow_host=(), out=None,
    )  # fmt: skip
    return conform(options, as_json=True)


def test_who_shows_the_right_certificate_is_let_in(guarded: Guarded) -> None:
    """With certificate, key and authority of the adapter every case is put and passes."""
    assert conformed(guarded, guarded.known()) == 0
    assert guarded.books.paid


def test_who_shows_none_or_trusts_another_is_not(guarded: Guarded) -> None:
    """Without a certificate the biller, with another authority we, refuse; nothing is booked."""
    known = guarded.known()
    stranger = Authority(guarded.folder, "stranger")
    theirs = stranger.certificate("client", ExtendedKeyUsageOID.CLIENT_AUTH)
    for tls in (
        {"authority": known["authority"]},
        {"authority": known["authority"], "certificate": theirs[0], "key": theirs[1]},
        {**known, "authority": stranger.path},
    ):
        assert conformed(guarded, tls) == 1
    assert guarded.books.entries == {}


def test_payments_reach_a_biller_behind_mutual_tls(
    guarded: Guarded,
    quick: Callable[..., Scenario],
    enter: Callable[[serve.Services], World],
) -> None:
    """Our payment service resolves, asks and calls back with the adapter's certificate."""
    foreign = Foreign(guarded.url, str(guarded.adapter(guarded.known())))
    options = serve.Options(biller=foreign, biller_secret=SECRET)
    folder = guarded.folder / "run"
    with serve.Services(quick(), SEED, folder, only=("psp",), options=options) as services:
        world = enter(services)
        paid = world.pay(1).body
        assert paid["status"] == "SUCCESS"
        number = world.bill(1).number
        world.until(partial(guarded.books.paid.__contains__, number))
        assert guarded.books.paid[number] == paid["transaction_id"]
