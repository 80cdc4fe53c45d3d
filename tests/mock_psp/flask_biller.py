"""Somebody else's biller: other paths, other names, rupees as text, signatures as Razorpay's.

A small Flask application that shares nothing with ours. It keeps the rules, so the conformance
check has to pass with an adapter alone; ``forgets_copies`` breaks one of them.
"""

from __future__ import annotations

import csv
import datetime as dt
import hashlib
import hmac
import logging
import sys
import threading
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import flask

if TYPE_CHECKING:
    from flask.typing import ResponseReturnValue


GRACE_DAYS = 60


class Books:
    """What this biller knows."""

    def __init__(self, dues: dict[str, tuple[str, Decimal, dt.date]]) -> None:
        """``dues``: invoice → (account, total in rupees, due date)."""
        self.dues, self.lock = dues, threading.Lock()
        self.takes_late_money = self.returns_at_once = False
        self.paid: dict[str, str] = {}
        self.entries: dict[str, dict[str, Any]] = {}

    def book(self, told: dict[str, Any]) -> tuple[str, int]:
        """Book a payment once; a word, and the HTTP status that goes with it."""
        name, utr = told["txn"], told["utr"]
        with self.lock:
            entry = self.entries.get(name)
            if entry is not None and entry["state"] != "FAILED":
                same = entry["invoice"] == told["invoice"] and entry["total"] == told["total"]
                return ("SEEN", 200) if same else ("CLASH", 409)
            if told["result"] != "captured":
                self.entries[name] = {**told, "state": "FAILED"}
                return "NOTED", 200
            if any(other["utr"] == utr for other in self.entries.values() if utr):
                return "CLASH", 409
            known = self.dues.get(told["invoice"])
            good = known is not None and Decimal(told["total"]) == known[1]
            if known is not None and overdue(known[2]) and not self.takes_late_money:
                good = False
            going_back = "RETURNED" if self.returns_at_once else "TO_RETURN"
            state = "BOOKED" if good and told["invoice"] not in self.paid else going_back
            if state == "BOOKED":
                self.paid[told["invoice"]] = name
            self.entries[name] = {**told, "state": state}
            return "NEW", 200

    def give_back(self, name: str) -> bool:
        """Note that the money of an entry has gone back; its invoice is open again."""
        with self.lock:
            entry = self.entries.get(name)
            if entry is None:
                return False
            entry["state"] = "RETURNED"
            if self.paid.get(entry["invoice"]) == name:
                del self.paid[entry["invoice"]]
            return True

    def reset(self) -> None:
        """All invoices are open again, and nothing has ever been paid."""
        with self.lock:
            self.paid.clear()
            self.entries.clear()


def overdue(due_on: dt.date) -> bool:
    """Whether an invoice is so late that it is not paid here any more."""
    return (dt.datetime.now(dt.UTC).date() - due_on).days > GRACE_DAYS


def application(
    dues: dict[str, tuple[str, Decimal, dt.date]],
    *,
    secret: str,
    key: str,
    forgets_copies: bool = False,
    takes_late_money: bool = False,
    declines: bool = False,
    returns_at_once: bool = False,
) -> flask.Flask:
    """The biller as a WSGI application; ``returns_at_once`` is no fault, the others are."""
    app, books = flask.Flask(__name__), Books(dues)
    books.takes_late_money, books.returns_at_once = takes_late_money, returns_at_once
    app.extensions["books"] = books

    @app.before_request
    def _() -> ResponseReturnValue | None:
        if flask.request.path.startswith("/v2/") and flask.request.headers.get("x-key") != key:
            return {"error": "who are you?"}, 401
        return None

    @app.get("/v2/dues/<path:invoice>")
    def due(invoice: str) -> ResponseReturnValue:
        known = books.dues.get(invoice)
        if known is None:
            return {"error": "no such invoice"}, 404
        account, total, by = known
        told = {"no": invoice, "account": account, "total": str(total), "by": by.isoformat()}
        return {"invoice": told}

    @app.post("/hooks/upi")
    def hook() -> ResponseReturnValue:
        if not signed(secret):
            return {"error": "not yours"}, 403
        told = flask.request.get_json()["payment"]
        if forgets_copies and told["txn"] in books.entries:
            del books.entries[told["txn"]]
            books.paid.pop(told["invoice"], "")
        word, status = books.book(told)
        return {"word": word}, status

    @app.get("/v2/entries/<name>")
    def entry(name: str) -> ResponseReturnValue:
        known = books.entries.get(name)
        if known is None:
            return {"error": "no such entry"}, 404
        return {"entry": {"no": f"E-{name[-6:]}", "total": known["total"], "state": known["state"]}}

    _add_checks(app, books, declines=declines)
    _add_reopening(app, books)
    _add_returning(app, books, secret)
    return app


def _add_returning(app: flask.Flask, books: Books, secret: str) -> None:
    @app.post("/hooks/return")
    def give_back() -> ResponseReturnValue:
        if not signed(secret):
            return {"error": "not yours"}, 403
        known = books.give_back(flask.request.get_json()["txn"])
        return {"known": known}, 200 if known else 404


def signed(secret: str) -> bool:
    """Whether the request that is being answered is signed with the secret."""
    right = hmac.new(secret.encode(), flask.request.get_data(), hashlib.sha256).hexdigest()
    return hmac.compare_digest(right, flask.request.headers.get("x-razorpay-signature", ""))


def _add_checks(app: flask.Flask, books: Books, *, declines: bool) -> None:
    """May an invoice be paid: no, if the biller declines everybody."""
    checks: list[str] = []
    app.extensions["checks"] = checks

    @app.post("/v2/check")
    def check() -> ResponseReturnValue:
        told = flask.request.get_json()
        checks.append(told["invoice"])
        if declines:
            return {"verdict": "STOP"}
        known = books.dues.get(told["invoice"])
        open_ = known is not None and told["invoice"] not in books.paid
        late = known is not None and overdue(known[2])
        fits = known is not None and Decimal(told["total"]) == known[1]
        return {"verdict": "GO" if open_ and fits and not late else "STOP"}


def _add_reopening(app: flask.Flask, books: Books) -> None:
    @app.post("/v2/reopen")
    def reopen() -> ResponseReturnValue:
        books.reset()
        return {"open": len(books.dues)}


def invoices(path: Path) -> dict[str, tuple[str, Decimal, dt.date]]:
    """Invoices of a CSV file, as the harness is given it."""
    with path.open(encoding="utf-8", newline="") as file:
        return {
            row["bill_number"]: (
                row["consumer_number"], Decimal(row["amount_rupees"]),
                dt.date.fromisoformat(row["due_on"]),
            )
            for row in csv.DictReader(file)
        }  # fmt: skip


def main() -> None:
    """Serve: ``flask_biller.py BILLS.csv PORT SECRET_FILE KEY_FILE``."""
    bills, port, secret, key = sys.argv[1:]
    told = (Path(name).read_text("utf-8").strip() for name in (secret, key))
    app = application(invoices(Path(bills)), secret=next(told), key=next(told))
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app.run("127.0.0.1", int(port), threaded=True)


if __name__ == "__main__":
    main()
