"""Addresses that people write: one rule for all commands, and no password is ever repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewseconds import address
from fewseconds.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

TEXT = st.text(st.characters(min_codepoint=1, max_codepoint=0x2FF), max_size=12)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/", "https://localhost", "http://[::1]:80/a?b=c@d#e", "http://h:1/%20",
        "HTTP://Example.COM:65535/x",
    ],
)  # fmt: skip
def test_addresses_of_services_are_taken(url: str) -> None:
    """Names, both families of addresses, paths and queries are no reason to complain."""
    assert address.fault(url) == ""


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("127.0.0.1:8000", "write http://127.0.0.1:8000"),
        ("foo", "write http://foo"),
        ("", "does not begin with http://"),
        ("ftp://127.0.0.1/", "nothing else is spoken"),
        ("http://127.0.0.1:99999/", "its port is no number from 1 to 65535"),
        ("http://127.0.0.1:0/", "its port is no number from 1 to 65535"),
        ("http://127.0.0.1:-1/", "its port is no number from 1 to 65535"),
        ("http://127.0.0.1:web/", "its port is no number from 1 to 65535"),
        ("http://", "names no host"),
        ("http://:80", "names no host"),
        ("http://[", "names no host"),
        ("http://a b/", "holds what no address may"),
        ("http://h/a\r\nx: y", "holds what no address may"),
        ("http://h/₹", "holds what no address may"),
        ("http://a@localhost/", "holds a user or a password"),
    ],
)
def test_each_fault_is_one_sentence_that_says_what_to_do(url: str, told: str) -> None:
    """Whatever is written for an address, the answer quotes it and is one line."""
    with pytest.raises(UsageError) as caught:
        address.check(url, (), "--url")
    assert told in str(caught.value)
    assert str(caught.value).startswith("--url ")
    assert "\n" not in str(caught.value)


@given(TEXT, TEXT)
def test_no_text_in_the_place_of_an_address_raises_anything_else(host: str, path: str) -> None:
    """Whatever stands there, it is an address or a sentence."""
    for url in (f"http://{host}/{path}", f"{host}://{path}", host + path):
        if address.fault(url):
            with pytest.raises(UsageError, match=r"\A.+\Z"):
                address.check(url, (host,))
        else:
            address.check(url, (urlsplit(url).hostname or "",))


SECRET = "s3cret"  # noqa: S105 - which is what must not be shown


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{SECRET}@127.0.0.1:1/", f"http://{SECRET}@127.0.0.1/",
        f"user:{SECRET}@host:80",
        f"http://user:{SECRET}/@127.0.0.1/", f"ftp://user:{SECRET}@host/", f"http://u:{SECRET}@",
        f"http://user:a@{SECRET}@127.0.0.1/", f"http://user:{SECRET} @127.0.0.1/",
        f"http://user:{SECRET}@192.0.2.1:99999/",
    ],
)  # fmt: skip
def test_passwords_are_never_repeated(url: str) -> None:
    """Not in the sentence, and not in the advice, whatever else is wrong with the address."""
    with pytest.raises(UsageError) as caught:
        address.check(url, (), "--psp-url", address.IN_FILE)
    assert SECRET not in str(caught.value)


@given(st.text(st.characters(codec="ascii"), min_size=1), st.sampled_from(["http", "https"]))
def test_a_quoted_password_is_told_where_it_belongs(password: str, scheme: str) -> None:
    """The standard library writes the address; the sentence names the file of --credentials."""
    url = urlunsplit((scheme, f"user:{quote(password, safe='')}@localhost:80", "/", "", ""))
    with pytest.raises(UsageError, match="belong into the file of --credentials"):
        address.check(url, (), secrets=address.IN_FILE)


def test_load_stays_on_this_machine_unless_a_host_is_named() -> None:
    """Loopback addresses need no leave, others need their own name, however it is written."""
    for url in (
        "http://127.0.0.1:80/",
        "http://127.9.9.9/",
        "http://[::1]:80/",
        "http://LocalHost/",
    ):
        address.check(url, [])
    address.check("http://192.0.2.7/", ["192.0.2.7"])
    address.check("http://[2001:db8::1]:80/", ["[2001:DB8::1]"])
    address.check("http://example.com/", ["Example.COM"])
    address.check("http://Example.COM/", ["example.com"])
    for host in ("192.0.2.7", "localhost.example", "0.0.0.0", "127.0.0.1.example"):  # noqa: S104
        with pytest.raises(UsageError, match=f"--allow-host {host}$"):
            address.check(f"http://{host}/", ["192.0.2.8"])


def test_authorities_that_are_not_there_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSL ignores a file that is missing and then trusts nobody, without a word."""
    there = tmp_path / "ca.pem"
    monkeypatch.setenv("SSL_CERT_FILE", str(there))
    address.check("http://localhost/", ())
    with pytest.raises(UsageError, match=r"SSL_CERT_FILE '.*ca\.pem': is no file"):
        address.check("HTTPS://localhost/", ())
    there.touch()
    address.check("https://localhost/", ())
