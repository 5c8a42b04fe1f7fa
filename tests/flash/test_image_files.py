from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import FlashImageError
from agent.flash import ChipImage, Region
from agent.flash.image_file import cut_blocks, join_regions, raw_image
from agent.flash.intel_hex import parse_intel_hex
from agent.flash.srec import parse_srec


def hex_line(kind: int, address: int, data: bytes) -> bytes:
    record = bytes([len(data)]) + address.to_bytes(2, "big") + bytes([kind]) + data
    return b":" + (record + bytes([-sum(record) % 256])).hex().upper().encode() + b"\n"


def pieces(image: ChipImage, size: int) -> list[Region]:
    return [block for region in image.regions for block in cut_blocks(ChipImage((region,)), size)]


def write_hex(image: ChipImage) -> bytes:
    lines = bytearray()
    for block in pieces(image, 16):
        lines += hex_line(4, 0, (block.start >> 16).to_bytes(2, "big"))
        lines += hex_line(0, block.start & 0xFFFF, block.content)
    return bytes(lines) + hex_line(1, 0, b"")


def srec_line(kind: int, address: int, data: bytes) -> bytes:
    width = {1: 2, 2: 3, 3: 4, 5: 2, 7: 4, 9: 2, 0: 2}[kind]
    record = bytes([width + len(data) + 1]) + address.to_bytes(width, "big") + data
    return f"S{kind}".encode() + (record + bytes([~sum(record) & 0xFF])).hex().encode() + b"\r\n"


def write_srec(image: ChipImage) -> bytes:
    blocks = pieces(image, 32)
    lines = b"".join(srec_line(3, block.start, block.content) for block in blocks)
    return srec_line(0, 0, b"title") + lines + srec_line(5, len(blocks), b"") + srec_line(7, 0, b"")


@st.composite
def images(draw: st.DrawFn) -> ChipImage:
    place = draw(st.integers(0, 0x0900_0000))
    regions = []
    for _ in range(draw(st.integers(1, 4))):
        content = draw(st.binary(min_size=1, max_size=200))
        regions.append(Region(place, content))
        place += len(content) + draw(st.integers(1, 70_000))
    return ChipImage(tuple(regions))


@given(images())
def test_intel_hex_gives_back_what_was_written(image: ChipImage) -> None:
    assert parse_intel_hex(write_hex(image)) == image


@given(images())
def test_s_records_give_back_what_was_written(image: ChipImage) -> None:
    assert parse_srec(write_srec(image)) == image


@given(st.binary(max_size=400))
def test_no_bytes_make_a_traceback(content: bytes) -> None:
    for parse in (parse_intel_hex, parse_srec):
        with suppress(FlashImageError):
            assert parse(content).regions


@given(images(), st.data())
def test_one_changed_character_is_never_taken_for_the_same_image(
    image: ChipImage, data: st.DataObject
) -> None:
    for write, parse in ((write_hex, parse_intel_hex), (write_srec, parse_srec)):
        content = bytearray(write(image))
        place = data.draw(st.integers(0, len(content) - 1))
        content[place] ^= 1 << data.draw(st.integers(0, 6))
        try:
            found = parse(bytes(content))
        except FlashImageError:
            continue
        assert found == image, "only case, line ends and what does not count may change"


def test_old_segments_move_addresses_by_sixteen() -> None:
    content = hex_line(2, 0, b"\x10\x00") + hex_line(0, 0x20, b"ab") + hex_line(1, 0, b"")
    assert parse_intel_hex(content).regions == (Region(0x10020, b"ab"),)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "cut off"),
        (hex_line(0, 0, b"ab"), "cut off"),
        (hex_line(1, 0, b""), "empty"),
        (hex_line(0, 0, b"ab") + hex_line(0, 1, b"c") + hex_line(1, 0, b""), "given twice"),
        (hex_line(1, 0, b"") + hex_line(0, 0, b"a"), "behind the end"),
        (hex_line(0, 0xFFFF, b"ab") + hex_line(1, 0, b""), "64 KiB"),
        (hex_line(6, 0, b""), "type 6"),
        (b":00000001fe\n", "sum"),
        (b":0000000\n", "hexadecimal"),
        (b":10000000ab\n", "as many bytes"),
        (b"S9030000FC\n", "begins with :"),
    ],
)
def test_a_wrong_intel_hex_file_is_refused(content: bytes, found: str) -> None:
    with pytest.raises(FlashImageError, match=found):
        parse_intel_hex(content)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "cut off"),
        (srec_line(1, 0, b"ab"), "cut off"),
        (srec_line(1, 0, b"ab") + srec_line(5, 2, b"") + srec_line(9, 0, b""), "count of 1"),
        (srec_line(9, 0, b"") + srec_line(1, 0, b"a"), "behind the end"),
        (b"S4030000FC\n", "one of 0 1 2 3"),
        (b"S9030000FD\n", "sum"),
        (b"S903\n", "as many"),
    ],
)
def test_a_wrong_s_record_file_is_refused(content: bytes, found: str) -> None:
    with pytest.raises(FlashImageError, match=found):
        parse_srec(content)


def test_an_image_beyond_all_addresses_is_refused() -> None:
    with pytest.raises(FlashImageError, match="2\\^32"):
        raw_image(b"ab", (1 << 32) - 1)


@given(images(), st.sampled_from([16, 128, 256]))
def test_blocks_hold_the_image_and_nothing_but_ones_besides(image: ChipImage, size: int) -> None:
    blocks = cut_blocks(image, size, 4)
    for block in blocks:
        assert block.start % 4 == len(block.content) % 4 == 0
        assert block.start // size == (block.end - 1) // size
    memory = {
        block.start + place: value for block in blocks for place, value in enumerate(block.content)
    }
    wanted = {
        region.start + place: value
        for region in image.regions
        for place, value in enumerate(region.content)
    }
    assert {address: memory[address] for address in wanted} == wanted
    assert all(value == 0xFF for address, value in memory.items() if address not in wanted)


def test_pieces_in_any_order_become_regions() -> None:
    regions = [Region(10, b"cd"), Region(0, b"a"), Region(8, b"ab"), Region(20, b"")]
    assert join_regions(regions).regions == (Region(0, b"a"), Region(8, b"abcd"))
