"""What an installation has come to, in a form that two can be compared by: no ids, no times of day, no places."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.faults.installation import Installation
from tests.stored import is_sound, results

TABLES = {
    "runs": "SELECT name, valuable, note, deleted_at IS NULL FROM run",
    "result origins": """
        SELECT test_run, project, host, context, test_name, import_file.sha256
        FROM result_scalar JOIN result ON result.id = key_id LEFT JOIN import_file ON import_file.id = import_id
        """,
    "expected": """
        SELECT class, project, host, context, custom, name, learned_from
        FROM expectation JOIN test ON test.id = test_id JOIN environment ON environment.id = environment_id
        """,
    "imports": """
        SELECT sha256, size, format, max(records), sum(accepted), sum(replaced_missing), max(quarantined), max(skipped)
        FROM import_file GROUP BY 1, 2, 3
        """,
    "contacts": "SELECT project, prefix, address FROM contact_rule",
    "subscriptions": "SELECT address, project, kind, most_lines FROM subscription",
    "nights": "SELECT class, run_name, ended_at IS NOT NULL FROM night",
    "steps": "SELECT run_name, position, name, state FROM step JOIN night ON night.id = night_id",
    "messages": "SELECT run, recipient, channel, kind, subject, lines, state, message_id, answers FROM notification",
    "unused tests": "SELECT count(*) FROM test WHERE id NOT IN (SELECT test_id FROM result)",
}

NOTHING = {
    # Of a log that a command names only the command's own process may know, and that may have been killed; whoever
    # gives it again hands the log over anew. `clean` forgets it in time.
    "begun and never ended": "SELECT * FROM import_attempt WHERE delivery GLOB '*:*'",
    "log blocks of nobody": """
        SELECT id, run_id FROM log_block WHERE NOT EXISTS (SELECT 1 FROM result WHERE log_block_id = log_block.id)
        """,
    "results whose import is not in the ledger": """
        SELECT id FROM result WHERE import_id IS NOT NULL AND import_id NOT IN (SELECT id FROM import_file)
        """,
    "results of runs that are not there": "SELECT id FROM result WHERE run_id NOT IN (SELECT id FROM run)",
    "leases": "SELECT id FROM notification WHERE lease IS NOT NULL AND state <> 'pending'",
}


def of(site: Installation) -> dict[str, Counter[object]]:
    """Everything that matters, counted: a row twice is not the same as once."""
    found: dict[str, Counter[object]] = {name: Counter(site.rows(sql)) for name, sql in TABLES.items()}
    found["results"] = Counter(results(site.settings))
    spool = site.settings.spool
    found["archive"] = Counter(_digest(path) for path in (spool / "archive").rglob("*") if path.is_file())
    found["quarantine"] = Counter(
        (place.name, _digest(place / "content"), json.loads((place / "note.json").read_text())["reason"])
        for place in (spool / "quarantine").iterdir()
        if not place.name.startswith(".")
    )
    mails = {(mail.recipient, mail.id, str(mail.message["Subject"]), mail.part("plain")) for mail in site.mail.mails}
    found["mails"] = Counter(mails)
    return found


def _digest(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def differences(disturbed: dict[str, Counter[object]], undisturbed: dict[str, Counter[object]]) -> list[str]:
    """What is in one and not in the other, one line each."""
    return list(_differences(disturbed, undisturbed))


def _differences(disturbed, undisturbed) -> Iterator[str]:
    for name in undisturbed:
        found, expected = disturbed[name], undisturbed[name]
        if name == "archive":  # whoever imports twice from standard input has two files
            found, expected = Counter(set(found)), Counter(set(expected))
        lost, too_much = expected - found, found - expected
        if name == "mails":
            yield from _mails(lost, too_much)
            continue
        for word, more in (("lost", lost), ("too much", too_much)):
            for row, times in more.items():
                yield f"{name}: {word}, {times} times: {row!r:.600}"


def _mails(lost, too_much) -> Iterator[str]:
    """The lines in which mails differ that are meant to be the same."""
    for recipient, id_, subject, text in lost:
        others = [mail for mail in too_much if (mail[0], mail[2]) == (recipient, subject)]
        yield f"mails: lost: {recipient} {id_} {subject}"
        for other in others[:1]:
            yield from difflib.unified_diff(text.splitlines(), other[3].splitlines(), "undisturbed", "disturbed", n=0)
    for recipient, id_, subject, _ in too_much:
        yield f"mails: too much: {recipient} {id_} {subject}"


def unsound(site: Installation) -> list[str]:
    """What is wrong with an installation in itself."""
    wrong = [] if is_sound(site.settings) else ["the database is not sound"]
    wrong += [f"{path.name} is no backup" for path in site.backups() if not _is_whole(path)]
    wrong += [f"{name}: {rows[:5]}" for name, sql in NOTHING.items() if (rows := site.rows(sql))]
    wrong += [f"traceback shown to a user:\n{text}" for text in site.tracebacks[:3]]
    wrong += site.lies
    deliveries = site.settings.outbox / "deliveries"
    left = [path.name for path in deliveries.iterdir()] if deliveries.is_dir() else []
    if left:
        wrong.append(f"outbox/deliveries: {left}")
    staging = [path.name for path in (site.settings.spool / "quarantine").glob(".*")]
    if staging:
        wrong.append(f"left half made in the quarantine: {staging}")
    return wrong


def _is_whole(database: Path) -> bool:
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro&immutable=1", uri=True)) as db:
        return db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def copies(site: Installation) -> int:
    """How many mails came more than once, under the same Message-ID."""
    return len(site.mail.mails) - len({(mail.recipient, mail.id) for mail in site.mail.mails})
