"""Joins windows that are copied and follow each other: a delta's index has one entry for all of them."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain

from agent.payload import (
    RUN_BYTES_MAX,
    RUN_FURTHER_MAX,
    Kind,
    Reference,
    Source,
    WindowEntry,
    pack_references,
    windows_digest,
)


def joined(entries: Iterable[WindowEntry], window_bytes: int) -> tuple[WindowEntry, ...]:
    """The same windows in as few entries as the format allows."""
    return tuple(_joined(run) for run in _runs(entries, window_bytes))


def _runs(entries: Iterable[WindowEntry], window_bytes: int) -> Iterator[list[WindowEntry]]:
    windows_max = min(1 + RUN_FURTHER_MAX, RUN_BYTES_MAX // window_bytes)
    run: list[WindowEntry] = []
    for entry in entries:
        if run and not (len(run) < windows_max and _may_follow(run[0], entry)):
            yield run
            run = []
        run.append(entry)
    if run:
        yield run


def _may_follow(first: WindowEntry, entry: WindowEntry) -> bool:
    """Whether an entry may be made together with those before it: its references end where they begin."""
    if first.offset == 0 or not (first.kind is entry.kind is Kind.COPY):
        return False
    return all(
        one.source is not Source.IMAGE or one.offset + one.length_bytes <= first.offset
        for one in entry.references()
    )


def _joined(run: list[WindowEntry]) -> WindowEntry:
    if len(run) == 1:
        return run[0]
    references = _continued(chain.from_iterable(entry.references() for entry in run))
    return replace(
        run[0],
        length_bytes=sum(entry.length_bytes for entry in run),
        sha256=windows_digest(entry.sha256 for entry in run),
        packed_references=pack_references(references),
    )


def _continued(references: Iterable[Reference]) -> list[Reference]:
    """The same bytes in as few references as that takes."""
    found: list[Reference] = []
    for one in references:
        if found and _goes_on(found[-1], one):
            length_bytes = found[-1].length_bytes + one.length_bytes
            found[-1] = replace(found[-1], length_bytes=length_bytes)
        else:
            found.append(one)
    return found


def _goes_on(last: Reference, one: Reference) -> bool:
    end = last.offset + (0 if last.source is Source.ZEROS else last.length_bytes)
    return last.source is one.source and end == one.offset
