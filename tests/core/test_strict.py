import json
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import TrustError
from agent.strict import DEPTH_MAX, Fields, Refusal, encode_json, format_time, load_json

REFUSAL = Refusal(TrustError, "document")
PATIENCE_S = 2.0


def load(content: bytes, length_max: int = 2**20) -> Fields:
    return load_json(content, length_max=length_max, refusal=REFUSAL)


def refused(content: bytes, length_max: int = 2**20) -> str:
    with pytest.raises(TrustError) as caught:
        load(content, length_max)
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b'{"a":1,"a":2}', "twice"),
        (b'{"a":{"b":1,"b":1}}', "twice"),
        (b'{"a":NaN}', "integers"),
        (b'{"a":Infinity}', "integers"),
        (b'{"a":-Infinity}', "integers"),
        (b'{"a":1.0}', "integers"),
        (b'{"a":1e999}', "integers"),
        (b'{"a":' + b"9" * 5000 + b"}", "larger"),
        (b'{"a":9007199254740992}', "larger"),
        (b'{"a":-9007199254740992}', "larger"),
        (b'\xef\xbb\xbf{"a":1}', "JSON"),
        ('{"a":1}'.encode("utf-16"), "JSON"),
        (b'{"a":"\xff"}', "JSON"),
        (b'{"a":"\\ud800"}', "surrogates"),
        (b'{"\\udfff":1}', "surrogates"),
        (b"[]", "object"),
        (b"1", "object"),
        (b"", "JSON"),
        (b"{} {}", "JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "deep"),
        (b'{"a":' * (DEPTH_MAX + 1) + b"1" + b"}" * (DEPTH_MAX + 1), "deep"),
    ],
)
def test_what_is_not_strict_json_is_refused_by_name(content: bytes, word: str) -> None:
    assert word in refused(content)


def test_a_document_longer_than_its_limit_is_refused_unread() -> None:
    assert "at most 10 bytes" in refused(b'{"a":"12345678"}', 10)


def test_what_is_at_the_limits_is_taken() -> None:
    nested = b'{"a":' * DEPTH_MAX + b"1" + b"}" * DEPTH_MAX
    assert load(nested).raw
    assert load(b'{"a":9007199254740991,"b":-9007199254740991}').integer("a", 0) == 2**53 - 1
    assert load(b'{"a":"\\ud83d\\ude00"}').text("a") == "\U0001f600"
    assert load(b'{"a":"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\"[[["}').text("a")


@pytest.mark.parametrize(
    "content",
    [
        b'{"a":"' + b'\\"' * 500_000,
        b'"' * 1_000_000,
        b'{"a":"' + b'\\\n"' * 300_000,
        b'{"a":"' + b"\\" * 1_000_000,
        b"[{" * 500_000,
        b'["' * 500_000,
    ],
    ids=["escaped quotes", "quotes", "escaped lines", "backslashes", "brackets", "both"],
)
def test_no_arrangement_of_quotes_and_brackets_costs_more_than_its_length(content: bytes) -> None:
    began_s = time.process_time()
    refused(content)
    assert time.process_time() - began_s < PATIENCE_S


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_refused(content: bytes) -> None:
    try:
        load(content)
    except TrustError:
        return


@settings(max_examples=25)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"])),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**53) + 1, 2**53 - 1)
            | st.text(st.characters(exclude_categories=["Cs"])),
            lambda inner: st.lists(inner) | st.dictionaries(st.text("ab"), inner),
            max_leaves=8,
        ),
    )
)
def test_what_is_encoded_is_read_back(document: dict[str, object]) -> None:
    assert load(encode_json(document)).raw == document


@given(st.datetimes(timezones=st.just(UTC)))
def test_every_date_is_written_as_it_is_read(moment: datetime) -> None:
    text = format_time(moment)
    fields = Fields({"at": text}, REFUSAL)
    assert fields.time("at") == moment.replace(microsecond=0)


def test_dates_are_written_in_utc() -> None:
    moment = datetime(2026, 11, 21, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert format_time(moment) == "2026-11-20T23:30:00Z"


@pytest.mark.parametrize(
    "text",
    ["", "2026-11-21", "2026-02-30T00:00:00Z", "2026-11-21T12:00:61Z", "10000-01-01T00:00:00Z"],
)
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(TrustError, match="at: a date"):
        Fields({"at": text}, REFUSAL).time("at")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "a/b", "/etc/passwd", "a\nb", "\u202eb", "a" * 129]
)
def test_a_name_is_never_a_path(name: str) -> None:
    with pytest.raises(TrustError):
        Fields({"name": name}, REFUSAL).name("name")


@pytest.mark.parametrize("value", [True, False, "1", None, 1.0, [1], {"a": 1}])
def test_only_an_integer_is_an_integer(value: object) -> None:
    with pytest.raises(TrustError, match="count: an integer"):
        Fields({"count": value}, REFUSAL).integer("count", 0)


def test_a_value_of_any_depth_or_length_is_named_in_few_words() -> None:
    deep: dict[str, object] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    for value in (deep, 16**9000, ["x" * 10**6]):
        with pytest.raises(TrustError) as caught:
            Fields({"name": value}, REFUSAL).name("name")
        assert len(str(caught.value)) < 300


def test_a_key_that_nobody_asked_for_is_refused() -> None:
    fields = load(json.dumps({"a": 1, "b": 2}).encode())
    fields.integer("a", 0)
    with pytest.raises(TrustError, match="unknown key; known here are: a"):
        fields.done()
