import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.encryption import SCHEME
from agent.errors import StateError
from agent.journal import (
    FILE,
    HISTORY_MAX,
    REPORTS_MAX,
    Journal,
    decode,
    encode,
    load,
    store,
)
from agent.release import Encryption
from agent.report import Outcome
from agent.strict import encode_json
from simulator.files import SimulatedFiles
from simulator.power import Power
from tests.core.samples import ALARM, JOURNAL, PAYLOAD, REPORT, TRIED, UPDATE

ENCODED = encode(JOURNAL)


def sealed(body: dict[str, object]) -> bytes:
    """A file whose checksum is right, whatever it says."""
    digest = hashlib.sha256(encode_json(body)).hexdigest()
    return encode_json({"schema": 1, "body": body, "sha256": digest})


def body_without(key: str) -> dict[str, object]:
    body: dict[str, object] = json.loads(ENCODED)["body"]
    del body[key]
    return body


@pytest.mark.parametrize("journal", [Journal(), JOURNAL, replace(JOURNAL, deferred_until=None)])
def test_what_is_stored_is_remembered(journal: Journal) -> None:
    files = SimulatedFiles(Power())
    assert load(files) == Journal()
    store(files, journal)
    assert load(files) == journal
    assert list(files.content) == [FILE]


def test_no_byte_can_change_unseen() -> None:
    for position in range(len(ENCODED)):
        for flip in (0x01, 0x80):
            spoiled = bytearray(ENCODED)
            spoiled[position] ^= flip
            with pytest.raises(StateError):
                decode(bytes(spoiled))


def test_a_torn_file_is_not_a_journal() -> None:
    for length in range(0, len(ENCODED) - 1, 3):
        with pytest.raises(StateError):
            decode(ENCODED[:length])


def test_an_unreadable_journal_is_none_and_not_an_empty_one() -> None:
    files = SimulatedFiles(Power())
    files.replace(FILE, ENCODED[:-40])
    assert load(files) is None


@given(st.binary(max_size=400))
def test_any_bytes_are_a_journal_or_none(content: bytes) -> None:
    files = SimulatedFiles(Power(), content={FILE: content})
    load(files)


def test_the_seal_of_this_test_is_the_journals_own() -> None:
    assert decode(sealed(json.loads(ENCODED)["body"])) == JOURNAL


VALUES: st.SearchStrategy[object] = (
    st.none()
    | st.booleans()
    | st.integers(-5, 2**60)
    | st.text(max_size=8)
    | st.just([])
    | st.just({})
    | st.lists(st.just({}), max_size=2)
)


@given(
    st.sampled_from(["update", "reports", "installed", "history", "deferred_until", "other"]),
    VALUES,
)
def test_any_value_anywhere_in_a_sealed_body_is_a_journal_or_none(key: str, value: object) -> None:
    body = json.loads(ENCODED)["body"]
    body[key] = value
    try:
        content = sealed(body)
    except UnicodeEncodeError:
        content = json.dumps({"schema": 1, "body": body, "sha256": "0" * 64}).encode()
    files = SimulatedFiles(Power(), content={FILE: content})
    load(files)


@given(st.sampled_from(sorted(json.loads(ENCODED)["body"]["update"])), VALUES)
def test_any_value_anywhere_in_the_update_is_a_journal_or_none(key: str, value: object) -> None:
    body = json.loads(ENCODED)["body"]
    body["update"][key] = value
    try:
        content = sealed(body)
    except UnicodeEncodeError:
        return
    load(SimulatedFiles(Power(), content={FILE: content}))


@pytest.mark.parametrize("key", ["reports", "installed", "history", "deferred_until"])
def test_a_body_that_lacks_a_part_is_no_journal(key: str) -> None:
    with pytest.raises(StateError, match="missing"):
        decode(sealed(body_without(key)))


def test_a_body_without_an_update_is_one_without_an_update() -> None:
    assert decode(sealed(body_without("update"))) == replace(JOURNAL, update=None)


def test_an_update_that_an_older_agent_began_goes_on() -> None:
    body = json.loads(ENCODED)["body"]
    for key in ("security", "consented", "held"):
        del body["update"][key]
    for one in body["update"]["installations"]:
        del one["payload"]["encryption"]
    assert decode(sealed(body)) == JOURNAL


def test_what_newer_updates_know_comes_back() -> None:
    sealed_payload = replace(PAYLOAD, encryption=Encryption(SCHEME, 108, "12" * 32))
    installation = replace(UPDATE.installations[0], payload=sealed_payload)
    update = replace(
        UPDATE, installations=(installation,), security=True, consented=True, held="limit-x: why"
    )
    assert decode(encode(replace(JOURNAL, update=update))).update == update


def test_a_journal_of_another_schema_is_not_understood_in_part() -> None:
    document = json.loads(ENCODED)
    document["schema"] = 2
    with pytest.raises(StateError, match="schema"):
        decode(encode_json(document))


def test_a_report_waits_once_whatever_happens() -> None:
    journal = Journal().with_report(REPORT)
    assert journal.with_report(REPORT) is journal
    assert journal.with_report(replace(REPORT, detail="again")) is journal


def test_receipts_take_out_what_they_name_and_nothing_else() -> None:
    waiting = Journal(reports=(REPORT, replace(REPORT, id="c3" * 16)))
    assert waiting.without_reports((REPORT.id, "unknown", "")).reports == waiting.reports[1:]
    assert waiting.without_reports(()) == waiting


def test_no_number_of_alarms_pushes_out_the_end_of_an_update() -> None:
    journal = Journal().with_report(REPORT)
    for number in range(3 * REPORTS_MAX):
        journal = journal.with_report(replace(ALARM, id=f"{number:032x}"))
    assert len(journal.reports) == REPORTS_MAX
    assert journal.reports[0] == REPORT
    assert journal.reports[-1].id == f"{3 * REPORTS_MAX - 1:032x}"


def test_an_alarm_never_takes_the_place_of_an_end_and_the_newest_ends_stay() -> None:
    journal = Journal()
    for number in range(REPORTS_MAX + 2):
        journal = journal.with_report(replace(REPORT, id=f"{number:032x}"))
    journal = journal.with_report(ALARM)
    assert len(journal.reports) == REPORTS_MAX
    assert all(report.outcome is Outcome.CONFIRMED for report in journal.reports)
    assert journal.reports[0].id == f"{2:032x}"


def test_the_history_is_bounded_and_knows_what_was_tried() -> None:
    journal = Journal()
    for number in range(HISTORY_MAX + 5):
        journal = journal.with_history(replace(TRIED, reissue=number))
    assert len(journal.history) == HISTORY_MAX
    assert journal.tried("winter", HISTORY_MAX + 4)
    assert not journal.tried("winter", HISTORY_MAX + 5)
    assert not journal.tried("spring", HISTORY_MAX)


def test_the_fullest_journal_still_fits_its_own_limit() -> None:
    long = "\U0001f600" * 500
    full = Journal(
        update=replace(UPDATE, detail=long, installations=UPDATE.installations * 16),
        reports=tuple(replace(REPORT, id=f"{n:032x}", detail=long) for n in range(REPORTS_MAX)),
        installed=JOURNAL.installed,
        history=tuple(replace(TRIED, reissue=n, detail=long) for n in range(HISTORY_MAX)),
    )
    assert decode(encode(full)) == full
