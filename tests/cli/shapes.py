"""The JSON examples of `docs/commands.md`, and whether an answer has the same keys and types."""

import json
import re
from typing import Any, Final

from tests.cli.bench import ROOT

BLOCK: Final = re.compile(r"^```json (\S+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def examples() -> dict[str, Any]:
    """Every example by its name."""
    found = BLOCK.findall((ROOT / "docs/commands.md").read_text())
    assert len({name for name, _ in found}) == len(found), "two examples share a name"
    return {name: json.loads(text) for name, text in found}


def differences(expected: object, found: object, where: str = "") -> list[str]:
    """What an answer has and its example has not, or the other way round."""
    match expected, found:
        case dict(), dict():
            told = [f"{where}.{key}: only in one" for key in sorted(set(expected) ^ set(found))]
            for key in set(expected) & set(found):
                told += differences(expected[key], found[key], f"{where}.{key}")
            return told
        case list(), list():
            rows = found if expected else []
            return [line for row in rows for line in differences(expected[0], row, f"{where}[]")]
        case (_, None) | (None, _):
            return []
        case _:
            same = type(expected) is type(found)
            return [] if same else [f"{where}: {type(found).__name__}"]
