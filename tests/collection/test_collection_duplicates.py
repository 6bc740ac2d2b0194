"""Near duplicates: exact against brute force, mirror images, one kept, conflicting sets dropped."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from taxaforge.collection.curate import judge_duplicates
from taxaforge.collection.duplicates import Sets, difference_hash, near_pairs


def brute_force(hashes, mirrored, bits):
    """Every pair, bit by bit, in plain Python integers."""
    plain = [int.from_bytes(row.tobytes(), "big") for row in hashes]
    flipped = [int.from_bytes(row.tobytes(), "big") for row in mirrored]
    n = range(len(plain))
    return [
        (i, j)
        for i in n
        for j in n
        if i < j
        and min(
            (plain[i] ^ plain[j]).bit_count(), (flipped[i] ^ plain[j]).bit_count(), (plain[i] ^ flipped[j]).bit_count()
        )
        <= bits
    ]


@pytest.mark.parametrize("bits", [0, 1, 4, 16, 32])
def test_banded_search_finds_exactly_the_pairs_of_a_full_search(bits):
    rng = np.random.default_rng(bits)
    hashes = rng.integers(0, 256, (60, 32), dtype=np.uint8)
    mirrored = rng.integers(0, 256, (60, 32), dtype=np.uint8)
    for k in range(30):  # relatives at every distance from 0 to beyond the limit
        unpacked = np.unpackbits((hashes if k % 2 else mirrored)[k])
        unpacked[rng.choice(256, min(256, k * (bits + 4) // 20), replace=False)] ^= 1
        hashes[30 + k] = np.packbits(unpacked)
    found = near_pairs(hashes, mirrored, bits)
    assert found == brute_force(hashes, mirrored, bits)
    assert found


def test_no_pictures_have_no_pairs():
    assert near_pairs(np.zeros((0, 32), np.uint8), np.zeros((0, 32), np.uint8), 4) == []


def photo(seed, size=96):
    noise = np.random.default_rng(seed).integers(0, 256, (12, 12), dtype=np.uint8)
    return Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)


def recompressed(image):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=40)
    return Image.open(buffer)


@pytest.mark.parametrize("change", [
    pytest.param(recompressed, id="recompressed"),
    pytest.param(lambda image: image.resize((61, 61)), id="resized"),
    pytest.param(lambda image: image.filter(ImageFilter.GaussianBlur(1)), id="blurred"),
    pytest.param(lambda image: image.point(lambda v: int(0.7 * v + 20)), id="darker and flatter"),
])  # fmt: skip
def test_a_processed_copy_stays_near_and_another_picture_far(change):
    here, there, other = (difference_hash(image) for image in (photo(1), change(photo(1)), photo(2)))
    assert np.bitwise_count(here ^ there).sum() <= 16
    assert np.bitwise_count(here ^ other).sum() > 80


def row(identifier, species, image, **more):
    grey = image.convert("L")
    return {
        "identifier": identifier, "scientificName": species, "img_width": image.width, "img_height": image.height,
        "img_phash": difference_hash(grey), "mirror_hash": difference_hash(grey.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    } | more  # fmt: skip


def test_of_one_species_the_largest_copy_stays_and_mirror_images_count():
    rows = [
        row("a", "P", photo(1)),
        row("b", "P", photo(1).resize((128, 128))),
        row("c", "P", photo(1).transpose(0)),
        row("d", "P", photo(2)),
    ]
    assert judge_duplicates(rows, 16) == {"a": "duplicate", "c": "duplicate"}
    assert [r["qc_duplicate_set"] for r in rows] == ["a", "a", "a", "d"]


def test_which_of_equal_copies_stays_does_not_depend_on_their_order():
    rows = [row(name, "P", photo(1)) for name in "abcd"]
    assert judge_duplicates(rows, 4) == judge_duplicates(rows[::-1], 4)
    assert len(judge_duplicates(rows, 4)) == 3


def test_a_picture_under_two_species_is_dropped_with_all_its_copies():
    rows = [row("a", "P", photo(1)), row("b", "P", photo(1)), row("c", "Q", photo(1)), row("d", "Q", photo(2))]
    assert judge_duplicates(rows, 4) == dict.fromkeys("abc", "duplicate_of_two_species")


def test_sets_are_named_by_their_smallest_member_however_they_were_joined():
    for order in ([("c", "d"), ("b", "c"), ("a", "d")], [("a", "d"), ("d", "c"), ("c", "b")]):
        sets = Sets("abcde")
        for a, b in order:
            sets.join(a, b)
        assert [sets.find(m) for m in "abcde"] == ["a", "a", "a", "a", "e"]


def test_nothing_is_joined_by_an_unknown_key():
    sets = Sets("abcd")
    sets.join_equal([("a", None), ("b", None), ("c", 1), ("d", 1)])
    assert [sets.find(m) for m in "abcd"] == ["a", "b", "c", "c"]
