"""Bytes that two images share are found wherever they moved, and nothing else is."""

import numpy as np

from fleet.delta.shingles import Bytes, find, sample
from tests.core.payloads import noise

MOVED = 1001


def images() -> tuple[Bytes, Bytes]:
    """A base, and an image in which half of it stands at an odd place."""
    base = np.frombuffer(noise(64 * 1024, 1), np.uint8)
    moved = np.frombuffer(noise(MOVED, 2), np.uint8)
    return base, np.concatenate((moved, base[: 32 * 1024]))


def test_what_has_moved_is_found_where_it_is() -> None:
    base, image = images()
    keys = np.sort(sample(base, 0, len(base)))
    there, here, weight = find(keys, base, sample(image, 0, len(image)), image)
    assert len(there) > 500
    assert set(here - there) == {MOVED}
    assert set(weight) == {1}


def test_a_hash_that_is_the_same_by_chance_is_no_find() -> None:
    base, image = images()
    elsewhere = np.sort(sample(base, 0, len(base))) + np.uint64(1)
    there, here, weight = find(elsewhere, base, sample(image, 0, len(image)), image)
    assert len(there) == len(here) == len(weight) == 0


def test_images_shorter_than_a_shingle_have_none() -> None:
    _, image = images()
    for length in (0, 1, 15):
        short = image[:length]
        keys = sample(short, 0, length)
        there, _, _ = find(keys, short, sample(image, 0, len(image)), image)
        assert (len(keys), len(there)) == (0, 0)
