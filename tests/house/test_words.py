import pytest

from tests.house import words
from tests.house.sources import ROOT, Text, parse, report, sources, texts


def test_code_uses_our_words() -> None:
    findings = [line for source in sources() for line in words.words_in_code(source)]
    assert not findings, report(findings)


def test_documents_use_our_words() -> None:
    findings = [line for text in texts() for line in words.words_in_text(text)]
    assert not findings, report(findings)


def test_the_name_of_the_attack_is_used_for_nothing_else() -> None:
    findings = [line for text in texts() for line in words.rollback_outside_the_attack(text)]
    assert not findings, report(findings)


def test_nothing_is_left_as_a_note() -> None:
    findings = [line for text in texts() for line in words.unfinished_notes(text)]
    assert not findings, report(findings)


def test_the_tree_speaks_only_of_the_product() -> None:
    findings = [line for text in texts() for line in words.workplace(text, f"{ROOT}/")]
    assert not findings, report(findings)


def test_a_check_is_switched_off_only_with_a_reason() -> None:
    findings = [line for source in sources() for line in words.silent_ignores(source)]
    assert not findings, report(findings)


@pytest.mark.parametrize(
    "code",
    [
        "def mark_good() -> None: ...",
        "class ReleaseBundle: ...",
        "chunk = 1",
        "self.chunks = 1",
        "def f(artifact: str) -> None: ...",
        "# the inactive slot is written",
        '"""Starts a deployment."""',
        'raise ValueError("a new campaign was expected")',
        "'''One.\n\nThe primary slot.\n'''",
        "TEST_BOOTS = 1",
    ],
)
def test_a_word_that_is_not_ours_is_found_in_code(code: str) -> None:
    assert words.words_in_code(parse("agent/x.py", code))


def test_the_line_of_a_word_in_a_docstring_is_right() -> None:
    (finding,) = words.words_in_code(parse("agent/x.py", '"""One.\n\nOne bundle.\n"""\n'))
    assert finding.startswith("agent/x.py:3: ")


@pytest.mark.parametrize(
    "code",
    [
        "response.iter_content(chunk_size=1)",
        "from requests.exceptions import ChunkedEncodingError",
        "# Transfer-Encoding: chunked is refused",
        "standby = active.other()",
        "# git commit",
    ],
)
def test_foreign_words_where_they_are_used_are_not_found(code: str) -> None:
    assert not words.words_in_code(parse("agent/x.py", code))


def test_a_word_that_is_not_ours_is_found_in_a_document() -> None:
    assert words.words_in_text(Text("docs/boards.md", "Then mark good.\n"))
    assert words.words_in_text(Text("board-profiles/x.toml", "# the secondary slot\n"))
    assert not words.words_in_text(Text("docs/terminology.md", "Never say bundle.\n"))


@pytest.mark.parametrize(
    "sentence", ["rolls back to slot a", "def rollback(): ...", "roll-back", "Rollback starts"]
)
def test_the_name_of_the_attack_for_a_revert_is_found(sentence: str) -> None:
    assert words.rollback_outside_the_attack(Text("agent/install.py", sentence))


def test_the_name_of_the_attack_for_the_attack_is_not_found() -> None:
    for path, sentence in (
        ("agent/x.py", "except RollbackError as error:"),
        ("fleet/store.py", 'connection.execute("ROLLBACK")'),
        ("fleet/store.py", "connection.rollback()"),
        ("docs/x.md", "A rollback of the metadata is refused."),
        ("agent/errors.py", "class RollbackError(TrustError):"),
        ("tests/attacks/test_rollback.py", "def test_rollback() -> None: ..."),
    ):
        assert not words.rollback_outside_the_attack(Text(path, sentence))


@pytest.mark.parametrize("word", ["TO" + "DO", "FIX" + "ME", "X" * 3])
def test_a_note_is_found(word: str) -> None:
    assert words.unfinished_notes(Text("agent/x.py", f"# {word}: later\n"))


@pytest.mark.parametrize(
    "sentence",
    [
        "cd /" + "work/x",
        "/home/" + "anna/lockgate",
        "https://mirror.example/" + "simple/",
        "https://py" + "pi.org/project/tuf",
        "pip install --extra-ind" + "ex-url x",
    ],
)
def test_a_trace_of_the_workplace_is_found(sentence: str) -> None:
    assert words.workplace(Text("docs/x.md", sentence))


def test_the_place_of_the_tree_itself_is_found() -> None:
    assert words.workplace(Text("docs/x.md", "in /srv/lockgate/agent"), "/srv/lockgate/")
    assert not words.workplace(Text("docs/x.md", "in /var/lib/lockgate; how we work/sleep"))


@pytest.mark.parametrize(
    "comment",
    ["# type: " + "ignore", "# type: " + "ignore[misc]", "# no" + "qa", "# no" + "qa: S101"],
)
def test_a_silent_ignore_is_found(comment: str) -> None:
    assert words.silent_ignores(parse("agent/x.py", f"x = 1  {comment}\n"))


def test_an_ignore_with_a_reason_is_not_found() -> None:
    code = "x = 1  # type: " + "ignore[misc]  # untyped library\ny = 1  # no" + "qa: S1  # why\n"
    assert not words.silent_ignores(parse("agent/x.py", code))
