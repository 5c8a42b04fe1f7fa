"""One thing, one word: the senses that `docs/terminology.md` forbids, and words of nobody's business.

Only words that have no innocent meaning here are looked for; "commit", "block" or "version" need a
reader. In Python the rule covers what we name and write: definitions, comments and strings; a
library's own keyword, such as `chunk_size`, may be used where that library is called.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from typing import Final

from tests.house.sources import Source, Text

BANNED: Final = {
    "artifact": "image",
    "artefact": "image",
    "bundle": "release",
    "campaign": "rollout",
    "chunk": "window",
    "deployment": "rollout",
    "inactive slot": "standby slot",
    "mark good": "confirm",
    "marked good": "confirmed",
    "primary slot": "active slot",
    "secondary slot": "standby slot",
    "test boot": "trial",
}
ABOUT_WORDS: Final = ("docs/terminology.md", "tests/house/", "benchmarks/rauc.py")
"""Where the forbidden words themselves are the subject, or those of a program that we run."""

ROLLBACK: Final = re.compile(
    r"(?<!\.)(?!(?-i:ROLLBACK\b))roll(?:s|ed|ing)?[ _-]?back", re.IGNORECASE
)
"""SQL's `ROLLBACK` and the method of that name belong to the database."""
ABOUT_THE_ATTACK: Final = re.compile(
    r"RollbackError|trust-rollback|TUF|attack|(?:timestamp|snapshot|metadata|root|version|floor)s?\b",
    re.IGNORECASE,
)
ROLLBACK_FILES: Final = re.compile(
    r"agent/(errors|floor|metadata)\w*\.py|SECURITY\.md|docs/(security|exit-codes)\.md"
    r"|docs/decisions/.*|tests/.*(attack|floor|metadata|rollback|trust|conformance).*"
)
NOTES: Final = re.compile(r"\b(?:T[O]DO|FIX[M]E|X[X]X)\b")
WORKPLACE: Final = (
    (re.compile(r"(?<![\w.~-])/w[o]rk/"), "a path of one machine"),
    (re.compile(r"/(?:home|Users)/(?!pi\b|USER|user\b)\w+"), "a path of one machine"),
    (
        re.compile(r"\b(?:p[y]pi\.org|pythonh[o]sted|extra-inde[x]|inde[x]-url)"),
        "a registry's host",
    ),
    (re.compile(r"https?://[^\s\"'`)>]+/simpl[e]\b"), "a registry's host"),
    (re.compile(r"\bM[u]st show\b"), "not about the product"),
)
IGNORE: Final = re.compile(r"#\s*(?:type:\s*ignore|noqa)\b")
REASONED_IGNORE: Final = re.compile(
    r"#\s*(?:type:\s*ignore\[[\w,\s-]+\]|noqa:\s*[A-Z]+\d+(?:,\s*[A-Z]+\d+)*)\s+#\s*\S"
)


def plain(name: str) -> str:
    """An identifier as words: `mark_good` and `MarkGood` as `mark good`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", name).lower()


def banned_in(text: str) -> Iterator[tuple[int, str]]:
    """The places of forbidden words in prose, with the sentence about each."""
    for word, better in BANNED.items():
        pattern = re.compile(rf"\b{word.replace(' ', '[ _-]')}s?\b", re.IGNORECASE)
        for found in pattern.finditer(text):
            yield found.start(), f"{found.group()!r} is not our word, {better!r} is"


def our_names(source: Source) -> Iterator[tuple[ast.AST, str]]:
    """The identifiers that a file defines."""
    for node in source.walk():
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node, node.name
            case ast.Name(ctx=ast.Store()):
                yield node, node.id
            case ast.Attribute(ctx=ast.Store()):
                yield node, node.attr
            case ast.arg():
                yield node, node.arg
            case _:
                pass


def comments(source: Source) -> Iterator[tuple[int, str]]:
    """The comments of a file, with their lines."""
    for token in tokenize.generate_tokens(io.StringIO(source.text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def our_prose(source: Source) -> Iterator[tuple[int, str]]:
    """The comments and strings of a file, with their lines."""
    yield from comments(source)
    for node in source.walk():
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def words_in_code(source: Source) -> list[str]:
    """Forbidden words in what a Python file defines and says."""
    if source.path.startswith(ABOUT_WORDS):
        return []
    found = [
        source.finding(node, sentence)
        for node, name in our_names(source)
        for _, sentence in banned_in(plain(name))
    ]
    found.extend(
        f"{source.path}:{line + prose.count(chr(10), 0, position)}: {sentence}"
        for line, prose in our_prose(source)
        for position, sentence in banned_in(prose)
    )
    return found


def words_in_text(text: Text) -> list[str]:
    """Forbidden words in a document, a profile or a script."""
    if text.path.startswith(ABOUT_WORDS) or text.path == "LICENSE" or text.path.endswith(".py"):
        return []
    return [text.finding(position, sentence) for position, sentence in banned_in(text.text)]


def rollback_outside_the_attack(text: Text) -> list[str]:
    """The word for the TUF attack where something else is meant: the device reverts."""
    if text.path.startswith(ABOUT_WORDS) or ROLLBACK_FILES.fullmatch(text.path):
        return []
    found = []
    for match in ROLLBACK.finditer(text.text):
        line = text.text.count("\n", 0, match.start())
        if not ABOUT_THE_ATTACK.search(text.text.splitlines()[line]):
            sentence = f"{match.group()!r} is only the attack on metadata; a device reverts"
            found.append(text.finding(match.start(), sentence))
    return found


def unfinished_notes(text: Text) -> list[str]:
    """Notes to oneself."""
    return [
        text.finding(match.start(), f"{match.group()}: do it, or leave it out")
        for match in NOTES.finditer(text.text)
    ]


def workplace(text: Text, folder: str = "") -> list[str]:
    """Traces of the machine that a file was written on; `folder` is where the tree lies now."""
    found = [
        text.finding(match.start(), f"{match.group()!r} is {sentence}")
        for pattern, sentence in WORKPLACE
        for match in pattern.finditer(text.text)
    ]
    if folder and folder in text.text:
        found.append(text.finding(text.text.index(folder), "a path of one machine"))
    return found


def silent_ignores(source: Source) -> list[str]:
    """A switched-off check without its code or without a reason."""
    return [
        f"{source.path}:{line}: a code and a reason were expected: `# noqa: CODE  # why`"
        for line, text in comments(source)
        if IGNORE.search(text) and not REASONED_IGNORE.search(text)
    ]
