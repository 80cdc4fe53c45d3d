"""The invariants as far as they can be told without the ledger, and what payers were told.

Tables beside those of ``audit_rules``:

* ``told``: what payers' phones saw, in order (``sequence``);
* ``settled``: the payment service's settlement file: payments and refunds;
* ``vouched``: the receipts that the biller showed when it was asked, ``none`` where it had none.

They are also asked where there is a ledger, but for those that need receipts: there the ledger
knows better.
"""
# ruff: noqa: S608 - the statements are put together from the constants below and from nothing else

from __future__ import annotations

from typing import Final

from mock_psp.audit_rules import Rule

LAST: Final = """(
    SELECT * FROM told
    WHERE sequence IN (SELECT max(sequence) FROM told GROUP BY transaction_id))"""
PAID: Final = f"(SELECT * FROM {LAST} WHERE status = 'SUCCESS')"
IN: Final = "(SELECT * FROM settled WHERE type = 'payment')"
BACK: Final = "(SELECT * FROM settled WHERE type = 'refund')"

TOLD: Final = (
    Rule(
        "what a payer was told about a payment only moves forward",
        "SELECT count(*) FROM told",
        """WITH moves AS (
               SELECT transaction_id, status, lag(status) OVER (
                   PARTITION BY transaction_id ORDER BY sequence) AS before FROM told)
           SELECT transaction_id || ': ' || status || ' after ' || before FROM moves
           WHERE before IN ('SUCCESS', 'FAILURE') AND status <> before""",
        "I5",
    ),
    Rule(
        "a payer is told the same facts about a payment every time",
        "SELECT count(DISTINCT transaction_id) FROM told",
        """SELECT transaction_id || ': told ' || count(DISTINCT bill_number) || ' bills, '
                  || count(DISTINCT amount_paise) || ' amounts, '
                  || count(DISTINCT nullif(rrn, '')) || ' references'
           FROM told GROUP BY transaction_id
           HAVING count(DISTINCT bill_number) > 1 OR count(DISTINCT amount_paise) > 1
               OR count(DISTINCT nullif(rrn, '')) > 1""",
        "I8",
    ),
    Rule(
        "the amount that was paid is the amount in the code that was scanned",
        f"SELECT count(*) FROM {PAID} WHERE printed_paise > 0",
        f"""SELECT transaction_id || ': paid ' || amount_paise || ', printed ' || printed_paise
            FROM {PAID} WHERE printed_paise > 0 AND amount_paise <> printed_paise""",
        "I7",
    ),
    Rule(
        "every payment that a payer was told had succeeded is posted",
        f"SELECT count(*) FROM {PAID}",
        f"""SELECT t.transaction_id || ': told as paid, is ' || coalesce(p.status, 'not there')
            FROM {PAID} t LEFT JOIN payments p USING (transaction_id)
            LEFT JOIN open o ON o.journey_id = t.journey_id
            WHERE coalesce(p.status, 'FAILED') = 'FAILED' AND o.journey_id IS NULL
              AND t.bill_number NOT IN (SELECT reference FROM codes)""",
        "I3",
    ),
)  # fmt: skip

SETTLED: Final = (
    Rule(
        "every payment that a payer was told had succeeded is settled once, at its amount",
        f"SELECT count(*) FROM {PAID}",
        f"""SELECT t.transaction_id || ': told as paid ' || t.amount_paise || ', settled '
                   || coalesce(sum(s.amount_paise), 0) || ' in ' || count(s.entity_id)
            FROM {PAID} t LEFT JOIN {IN} s ON s.transaction_id = t.transaction_id
            LEFT JOIN open o ON o.journey_id = t.journey_id
            GROUP BY t.transaction_id
            HAVING (count(s.entity_id) <> 1 OR sum(s.amount_paise) <> t.amount_paise)
               AND max(o.journey_id) IS NULL""",
        "I3",
    ),
    Rule(
        "money of a payment that a payer was told had failed was not kept",
        f"SELECT count(*) FROM {LAST} WHERE status = 'FAILURE'",
        f"""SELECT t.transaction_id || ': told as failed, settled ' || s.amount_paise
                   || ', given back ' || coalesce(
                       (SELECT sum(b.amount_paise) FROM {BACK} b
                        WHERE b.transaction_id = t.transaction_id), 0)
            FROM {LAST} t JOIN {IN} s USING (transaction_id)
            WHERE t.status = 'FAILURE' AND s.amount_paise <> coalesce(
                (SELECT sum(b.amount_paise) FROM {BACK} b
                 WHERE b.transaction_id = t.transaction_id), 0)""",
        "I1",
    ),
    Rule(
        "no more is given back than came in",
        f"SELECT count(*) FROM {BACK}",
        f"""SELECT b.transaction_id || ': given back ' || sum(b.amount_paise) || ' of '
                   || coalesce((SELECT max(s.amount_paise) FROM {IN} s
                                WHERE s.transaction_id = b.transaction_id), 'nothing')
            FROM {BACK} b GROUP BY b.transaction_id
            HAVING sum(b.amount_paise) > coalesce(
                (SELECT max(s.amount_paise) FROM {IN} s
                 WHERE s.transaction_id = b.transaction_id), 0)""",
        "I1",
    ),
    Rule(
        "of several payments of one bill all but one went back",
        f"SELECT count(DISTINCT reference) FROM {IN}",
        f"""SELECT s.reference || ': paid ' || count(*) || ' times, given back '
                   || (SELECT count(*) FROM {BACK} b WHERE b.reference = s.reference)
            FROM {IN} s WHERE s.reference <> '' GROUP BY s.reference
            HAVING count(*) - (SELECT count(*) FROM {BACK} b WHERE b.reference = s.reference) > 1
        """,
        "I2",
    ),
    Rule(
        "nothing is settled twice, and everything on its day",
        "SELECT count(*) FROM settled",
        """SELECT type || ' ' || entity_id || ': ' || count(*) || ' lines' FROM settled
           GROUP BY type, entity_id HAVING count(*) > 1
           UNION ALL
           SELECT type || ' ' || entity_id || ': settled at ' || settled_s || ', due ' || due_s
           FROM settled WHERE settled_s <> due_s""",
        "I11",
    ),
)  # fmt: skip

FILE: Final = (
    Rule(
        "every line of the settlement file is in the ledger, at its amount",
        "SELECT count(*) FROM settled",
        f"""SELECT s.transaction_id || ': settled ' || s.amount_paise || ', posted '
                   || coalesce(p.amount_paise, 'nothing')
            FROM {IN} s LEFT JOIN payments p
              ON p.transaction_id = s.transaction_id AND p.status <> 'FAILED'
            WHERE p.amount_paise IS NOT s.amount_paise
              AND s.reference NOT IN (SELECT reference FROM codes)
            UNION ALL
            SELECT s.entity_id || ': refund of ' || s.amount_paise || ', posted '
                   || coalesce(r.amount_paise, 'nothing')
            FROM {BACK} s LEFT JOIN refunds r ON r.psp_refund_id = s.entity_id
            WHERE r.amount_paise IS NOT s.amount_paise
              AND s.reference NOT IN (SELECT reference FROM codes)""",
        "I11",
    ),
)
"""Only with a settlement file of the payment service's: its own journal is compared anyway."""

VOUCHED: Final = (
    Rule(
        "every payment that a payer was told had succeeded has a receipt, at its amount",
        f"SELECT count(*) FROM {PAID} WHERE transaction_id IN (SELECT transaction_id FROM vouched)",
        f"""SELECT t.transaction_id || ': told as paid ' || t.amount_paise || ', the biller says '
                   || v.posting || ' ' || coalesce(v.amount_paise, '')
            FROM {PAID} t JOIN vouched v USING (transaction_id)
            LEFT JOIN open o ON o.journey_id = t.journey_id
            WHERE o.journey_id IS NULL
              AND (v.posting NOT IN ('credited', 'refund_due', 'refunded')
                   OR (v.amount_paise IS NOT NULL AND v.amount_paise <> t.amount_paise))""",
        "I3",
    ),
    Rule(
        "no bill has two receipts that say credited",
        "SELECT count(*) FROM vouched WHERE posting = 'credited'",
        f"""SELECT t.bill_number || ': credited ' || count(*) || ' times'
            FROM vouched v JOIN {LAST} t USING (transaction_id)
            WHERE v.posting = 'credited' GROUP BY t.bill_number HAVING count(*) > 1""",
        "I2",
    ),
    Rule(
        "a payment that a payer was told had failed is not credited",
        f"SELECT count(*) FROM {LAST} WHERE status = 'FAILURE'",
        f"""SELECT t.transaction_id || ': told as failed, the biller says ' || v.posting
            FROM {LAST} t JOIN vouched v USING (transaction_id)
            WHERE t.status = 'FAILURE' AND v.posting = 'credited'""",
        "I9",
    ),
    Rule(
        "what was settled has a receipt",
        f"SELECT count(*) FROM {IN} WHERE transaction_id IN (SELECT transaction_id FROM vouched)",
        f"""SELECT s.transaction_id || ': settled ' || s.amount_paise || ', the biller says '
                   || v.posting || ' ' || coalesce(v.amount_paise, '')
            FROM {IN} s JOIN vouched v USING (transaction_id)
            WHERE v.posting = 'none'
               OR (v.amount_paise IS NOT NULL AND v.amount_paise <> s.amount_paise)""",
        "I11",
    ),
    Rule(
        "a bill that was settled twice is refunded at the biller, too",
        f"SELECT count(DISTINCT reference) FROM {IN}",
        f"""SELECT s.reference || ': settled ' || count(*) || ' times, to be refunded '
                   || sum(v.posting IN ('refund_due', 'refunded'))
            FROM {IN} s JOIN vouched v USING (transaction_id) WHERE s.reference <> ''
            GROUP BY s.reference
            HAVING count(*) > 1 AND sum(v.posting IN ('refund_due', 'refunded')) < count(*) - 1""",
        "I2",
    ),
    Rule(
        "every payment with a receipt has exactly one SMS, and no failed one has any",
        f"SELECT count(*) FROM {PAID}",
        f"""SELECT t.transaction_id || ': ' || count(m.message_id) || ' SMS accepted'
            FROM {PAID} t JOIN vouched v ON v.transaction_id = t.transaction_id
            LEFT JOIN messages m ON m.reference = t.transaction_id AND m.entry = 'accepted'
            LEFT JOIN open o ON o.journey_id = t.journey_id
            WHERE v.posting <> 'none'
            GROUP BY t.transaction_id
            HAVING count(m.message_id) > 1
                OR (count(m.message_id) = 0 AND max(o.journey_id) IS NULL)
            UNION ALL
            SELECT t.transaction_id || ': told as failed, but an SMS was sent'
            FROM {LAST} t JOIN messages m ON m.reference = t.transaction_id
            WHERE t.status = 'FAILURE' AND m.entry = 'accepted'""",
        "I4",
    ),
)  # fmt: skip
