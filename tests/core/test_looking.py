"""Where a slot holds something else, only some windows are looked at; what a cut left is found whole."""

from tests.core.payloads import WINDOW, Bench, make_bench, noise

COUNT = 160


def bench_with(held: range) -> Bench:
    image = noise(COUNT * WINDOW)
    old = bytearray(reversed(image))
    for number in held:
        place = slice(number * WINDOW, (number + 1) * WINDOW)
        old[place] = image[place]
    return make_bench(image, old=bytes(old))


def written(bench: Bench) -> set[int]:
    bench.install()
    assert bench.slot.content == bench.image
    return {deed.offset // WINDOW for deed in bench.slot.writes()}


def test_what_was_written_before_a_cut_is_found_to_the_last_window() -> None:
    assert written(bench_with(range(51))) == {0, *range(51, COUNT)}


def test_a_few_gaps_are_found_exactly() -> None:
    gaps = {0, *range(20, 35), 40}
    bench = make_bench(noise(COUNT * WINDOW), old=noise(COUNT * WINDOW))
    for number in gaps:
        bench.slot.content[number * WINDOW] ^= 0xFF
    assert written(bench) == gaps


def test_after_many_misses_the_same_content_is_found_within_four_windows() -> None:
    assert written(bench_with(range(101, COUNT))) == set(range(104))
