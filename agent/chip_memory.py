"""What the device knows of its microcontrollers, once more, for when the journal is lost.

A system without its journal is told by the hardware which slot is right. A chip tells nobody: one that was
half written would stay so, and what belongs there would be nobody's knowledge. So the part of the journal
that chips need is kept twice, and this copy is written first: a cut between the two leaves a journal that
can be read, and a copy that says more than has happened.

{"schema": 1, "sha256": HEX, "body": {"belongs": {SLOT: {CHIP: FIRMWARE}}, "chips": {CHIP: RECORD}}}
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Final

from agent.board import SlotName, other
from agent.errors import StateError
from agent.firmware import ChipRecord, Firmware, firmwares_fields, records_fields
from agent.interfaces import Files
from agent.journal import Journal
from agent.strict import Refusal, encode_json, load_json
from agent.update import Update

SCHEMA: Final = 1
FILE: Final = "chips.json"
FILE_BYTES_MAX: Final = 256 * 1024
SLOTS: Final[tuple[SlotName, ...]] = ("a", "b")


@dataclass(frozen=True, slots=True)
class ChipMemory:
    """The images that belong beside each slot's system once it is confirmed, and what each chip holds."""

    belongs: Mapping[SlotName, Mapping[str, Firmware]] = field(default_factory=dict)
    chips: Mapping[str, ChipRecord] = field(default_factory=dict)


def beside(journal: Journal, slot: SlotName) -> Mapping[str, Firmware]:
    """The images that belong beside the system in a slot, as far as it was ever confirmed."""
    installed = journal.installed.get(slot)
    return {} if installed is None else installed.chips


def new_images(update: Update) -> dict[str, Firmware]:
    """The images that an update brings to chips."""
    return {planned.chip: planned.firmware for planned in update.chips}


def beside_confirmed(journal: Journal, update: Update) -> Mapping[str, Firmware]:
    """The images that belong beside the system of an update that was confirmed."""
    return {**beside(journal, other(update.target)), **new_images(update)}


def memory_of(journal: Journal) -> ChipMemory:
    """The part of a journal that chips need."""
    belongs = {slot: beside(journal, slot) for slot in SLOTS}
    update = journal.update
    if update is not None and not update.finished:
        belongs[update.target] = beside_confirmed(journal, update)
    return ChipMemory({slot: images for slot, images in belongs.items() if images}, journal.chips)


def remember(files: Files, before: Journal, after: Journal) -> None:
    """Make the copy durable where it has changed; a cut leaves the one before or this one."""
    memory = memory_of(after)
    if memory == memory_of(before):
        return
    body = {
        "belongs": {
            slot: {chip: asdict(image) for chip, image in images.items()}
            for slot, images in memory.belongs.items()
        },
        "chips": {chip: asdict(record) for chip, record in memory.chips.items()},
    }
    digest = hashlib.sha256(encode_json(body)).hexdigest()
    files.replace(FILE, encode_json({"schema": SCHEMA, "body": body, "sha256": digest}))


def recall(files: Files) -> ChipMemory:
    """The copy; nothing where there is none, or none that can be read."""
    content = files.read(FILE)
    try:
        return ChipMemory() if content is None else _decode(content)
    except StateError:
        return ChipMemory()


def _decode(content: bytes) -> ChipMemory:
    fields = load_json(content, length_max=FILE_BYTES_MAX, refusal=Refusal(StateError, FILE))
    fields.integer("schema", SCHEMA, SCHEMA)
    body = fields.table("body")
    if hashlib.sha256(encode_json(body.raw)).hexdigest() != fields.sha256("sha256"):
        fields.refuse("sha256", "the file has changed since it was written")
    fields.done()
    belongs = body.table("belongs")
    return ChipMemory(
        {slot: firmwares_fields(belongs, slot) for slot in SLOTS if slot in belongs},
        records_fields(body, "chips"),
    )
