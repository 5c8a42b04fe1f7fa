"""Two versions of one small product: programs that were compiled anew, texts that were edited.

A program is a row of functions that call each other by relative address, so that one function more moves
the rest and changes a few bytes in nearly all of it, as a linker does.
"""

import hashlib
import os
import random
import subprocess
from pathlib import Path
from typing import Final

FUNCTIONS: Final = 1600
CALL_EVERY: Final = 24
IDENTITY: Final = "5bd2ff1c-6f51-4d0c-9c1e-0a5e8f3b7a01"
WORDS: Final = [hashlib.sha256(str(number).encode()).hexdigest()[:7] for number in range(3000)]


def program(seed: int, version: int) -> bytes:
    """A compiled program; its next version has new functions and a few that changed."""
    chance = random.Random(seed)
    bodies = [_code(chance, chance.randrange(40, 400)) for _ in range(FUNCTIONS)]
    calls = [
        [chance.randrange(FUNCTIONS) for _ in range(len(body) // CALL_EVERY)] for body in bodies
    ]
    names = list(range(FUNCTIONS))
    for change in range(version * 30):
        chance = random.Random(f"{seed}/{change}")
        place = chance.randrange(len(names))
        if change % 3:
            bodies[names[place]] = _code(chance, len(bodies[names[place]]))
        else:
            names.insert(place, len(bodies))
            bodies.append(_code(chance, 120))
            calls.append([])
    return _linked(names, bodies, calls)


def _code(chance: random.Random, length_bytes: int) -> bytes:
    return bytes(min(chance.getrandbits(8), chance.getrandbits(8)) for _ in range(length_bytes))


def _linked(names: list[int], bodies: list[bytes], calls: list[list[int]]) -> bytes:
    places = {}
    end = 0
    for name in names:
        places[name] = end
        end += len(bodies[name])
    linked = bytearray()
    for name in names:
        body = bytearray(bodies[name])
        for number, called in enumerate(calls[name]):
            at = number * CALL_EVERY
            distance = places[called] - places[name] - at
            body[at : at + 4] = distance.to_bytes(4, "little", signed=True)
        linked += body
    return bytes(linked)


def text(seed: int, version: int) -> bytes:
    """Prose of which each version changes some sentences."""
    chance = random.Random(seed)
    lines = [" ".join(chance.choices(WORDS, k=12)) for _ in range(2000)]
    for change in range(version * 40):
        chance = random.Random(f"{seed}/{change}")
        lines[chance.randrange(len(lines))] = " ".join(chance.choices(WORDS, k=14))
    return "\n".join(lines).encode()


def make_ext4(folder: Path, version: int) -> Path:
    """An ext4 image of 16 MiB with programs, texts and files that stay the same."""
    tree = folder / f"tree-{version}"
    tree.mkdir(parents=True)
    for seed in range(3):
        (tree / f"program-{seed}").write_bytes(program(seed, version))
        (tree / f"text-{seed}").write_bytes(text(seed, version))
    for seed in range(2):
        (tree / f"kept-{seed}").write_bytes(random.Random(seed).randbytes(600_000))
    (tree / f"added-{version}").write_bytes(random.Random(version).randbytes(9_000))
    image = folder / f"{version}.ext4"
    with image.open("wb") as file:
        file.truncate(16 * 1024 * 1024)
    subprocess.run(
        [
            "mke2fs",
            "-q",
            "-F",
            "-t",
            "ext4",
            "-b",
            "4096",
            "-U",
            IDENTITY,
            "-E",
            f"hash_seed={IDENTITY}",
            "-d",
            str(tree),
            str(image),
        ],
        env={**os.environ, "E2FSPROGS_FAKE_TIME": "1735689600"},
        check=True,
        timeout=60,
    )
    return image
