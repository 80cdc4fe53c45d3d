"""``fewseconds scan bill``: one consumer's bill, or a counter's placard for it, on paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fewseconds.commands import console
from fewseconds.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def scan_bill(
    name: str,
    seed: int | None,
    consumer: int,
    out: Path,
    *,
    placard: bool,
    dpi: int,
    as_json: bool,
) -> int:
    """Print to a PDF, or to a PNG of its only page, and say what the code on it holds."""
    if out.suffix not in {".pdf", ".png"}:
        raise UsageError(f"--out {str(out)!r}: is neither .pdf nor .png; name one of them")
    scenario = console.load(name)
    seed = scenario.seed if seed is None else seed
    count = scenario.consumers
    if not 0 <= consumer < count:
        raise UsageError(f"--consumer {consumer}: is not in {name}; choose one below {count}")
    fields = console.header(scenario, seed, "print")
    from fixtures import bills, consumers, printed_bill, qr

    bill = bills.bill(seed, consumer)
    page = printed_bill.placard_pdf if placard else printed_bill.bill_pdf
    content = page(seed, bill, consumers.consumer(seed, consumer))
    if out.suffix == ".png":
        content = printed_bill.png(content, dpi)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(content)
    except OSError as error:
        what = f"cannot be written ({error.strerror}); choose another place"
        raise UsageError(f"--out {str(out)!r}: {what}") from None
    link = qr.bill_uri(seed, bill, counter=placard)
    symbol_mm = printed_bill.PLACARD_CODE_MM if placard else printed_bill.BILL_CODE_MM
    if as_json:
        amount = {"bill": bill.number, "amount_paise": bill.amount_paise}
        code = {"link": link, "symbol_mm": symbol_mm}
        console.print_json(fields | amount | code | {"file": str(out)})
    else:
        console.show(f"{out}: bill {bill.number}, code {symbol_mm:g} mm wide\n{link}")
    return 0
