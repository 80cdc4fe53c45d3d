"""Somebody else's biller: other paths, other names, rupees as text, signatures as Razorpay's.

A small Flask application that shares nothing with ours. It keeps the rules, so the conformance
check has to pass with an adapter alone; ``forgets_copies`` breaks one of them.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import threading
from decimal import Decimal
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
            state = "BOOKED" if good and told["invoice"] not in self.paid else "TO_RETURN"
            if state == "BOOKED":
                self.paid[told["invoice"]] = name
            self.entries[name] = {**told, "state": state}
            return "NEW", 200


def application(
    dues: dict[str, tuple[str, Decimal, dt.date]],
    *,
    secret: str,
    key: str,
    forgets_copies: bool = False,
) -> flask.Flask:
    """The biller as a WSGI application."""
    app, books = flask.Flask(__name__), Books(dues)
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

    @app.post("/v2/check")
    def check() -> ResponseReturnValue:
        told = flask.request.get_json()
        known = books.dues.get(told["invoice"])
        open_ = known is not None and told["invoice"] not in books.paid
        late = known is not None and (dt.datetime.now(dt.UTC).date() - known[2]).days > GRACE_DAYS
        fits = known is not None and Decimal(told["total"]) == known[1]
        return {"verdict": "GO" if open_ and fits and not late else "STOP"}

    @app.post("/hooks/upi")
    def hook() -> ResponseReturnValue:
        body = flask.request.get_data()
        right = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(right, flask.request.headers.get("x-razorpay-signature", "")):
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

    return app
