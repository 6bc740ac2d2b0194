"""Duplicates: exact against brute force, mirror images, one kept by a rule, conflicting sets dropped whole."""

import io

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageFilter

from taxaforge.collection import near
from taxaforge.collection.duplicates import Sets, freedom, judge_sets, mark_sets
from taxaforge.collection.near import near_groups, near_pairs, similar_groups
from taxaforge.collection.quality import measure


def distances(a, b):
    """(len(a), len(b)) Hamming distances, counted in plain Python integers."""
    a, b = ([int.from_bytes(row.tobytes(), "big") for row in rows] for rows in (a, b))
    return np.array([[(x ^ y).bit_count() for y in b] for x in a]).reshape(len(a), len(b))


def partition(groups):
    """Group numbers as the set of groups, whatever the numbers."""
    members = {}
    for i, group in enumerate(groups):
        members.setdefault(int(group), set()).add(i)
    return {frozenset(one) for one in members.values()}


def components(tied):
    """Groups of a (N, N) truth table, by spreading the smallest index until nothing changes."""
    label, tied = list(range(len(tied))), tied | tied.T | np.eye(len(tied), dtype=bool)
    while True:
        spread = [min(label[j] for j in np.flatnonzero(row)) for row in tied]
        if spread == label:
            return partition(label)
        label = spread


def relatives(rng, base, count, furthest):
    """Hashes at every distance from 0 to `furthest` of hashes in `base`."""
    out = base[rng.integers(len(base), size=count)].copy()
    for k, row in enumerate(out):
        bits = np.unpackbits(row)
        bits[rng.choice(256, min(256, round(k * furthest / count)), replace=False)] ^= 1
        row[:] = np.packbits(bits)
    return out


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("bits", [0, 1, 2, 3, 8, 19, 20, 21, 32, 120])
def test_the_search_finds_exactly_the_pairs_of_a_full_search(bits, seed):
    rng = np.random.default_rng([bits, seed])
    base = rng.integers(0, 256, (40, 32), dtype=np.uint8)
    if seed == 2:  # hashes of pictures with white margins: only a few bits tell them apart
        base &= np.packbits(np.arange(256) % 16 < 3)
    known = np.unique(np.concatenate([base, relatives(rng, base, 120, bits * 1.5 + 3)]), axis=0)
    queries = relatives(rng, known, 80, bits * 1.5 + 3)
    owner = rng.permutation(len(queries))
    found = [(int(a), int(b)) for some in near_pairs(known, queries, owner, bits) for a, b in zip(*some, strict=True)]
    wanted = np.argwhere(distances(queries, known) <= bits)
    assert sorted(found) == sorted((int(owner[q]), int(k)) for q, k in wanted)
    assert 0 < len(found) < len(queries) * len(known)


@pytest.mark.parametrize("seed", range(6))
def test_groups_hold_copies_of_copies_equal_hashes_and_mirror_images(seed):
    rng = np.random.default_rng(seed)
    hashes = rng.integers(0, 256, (30, 32), dtype=np.uint8)
    hashes = np.concatenate([hashes, hashes[:5], relatives(rng, hashes, 30, 30)])
    mirrored = rng.integers(0, 256, hashes.shape, dtype=np.uint8)
    mirrored[:6] = relatives(rng, hashes[20:30], 6, 30)
    mirrored[7] = hashes[7]  # symmetric: no copy of another for that
    mirrored[8] = mirrored[9]  # two mirror images are alike, their pictures are not
    tied = (distances(hashes, hashes) <= 20) | (distances(mirrored, hashes) <= 20)
    assert partition(near_groups(hashes, mirrored, 20)) == components(tied)
    order = rng.permutation(len(hashes))
    again = near_groups(hashes[order], mirrored[order], 20)
    assert partition(again) == {frozenset(np.argsort(order)[list(one)].tolist()) for one in components(tied)}


def test_groups_are_the_same_when_pairs_are_folded_in_again_and_again(monkeypatch):
    """Copies of copies in one long chain, which no batch of queries sees whole."""
    chain = np.zeros((200, 256), dtype=np.uint8)
    for k in range(1, 200):
        chain[k] = chain[k - 1]
        chain[k, k] = 1
    hashes = np.packbits(chain[np.random.default_rng(0).permutation(200)], axis=1)
    mirrored = np.random.default_rng(1).integers(0, 256, hashes.shape, dtype=np.uint8)
    monkeypatch.setattr(near, "BUFFER", 20)
    monkeypatch.setattr(near, "BATCH", 16)
    assert len(set(near_groups(hashes, mirrored, 2).tolist())) == 1
    assert len(set(near_groups(hashes, mirrored, 0).tolist())) == 200


def test_no_pictures_have_no_groups():
    assert near_groups(np.zeros((0, 32), np.uint8), np.zeros((0, 32), np.uint8), 4).tolist() == []


def test_thousands_of_equal_copies_are_asked_for_once_and_near_ones_folded_together():
    import faiss

    rng = np.random.default_rng(0)
    one = rng.integers(0, 256, (1, 32), dtype=np.uint8)
    hashes = np.concatenate([np.repeat(one, 20_000, axis=0), relatives(rng, one, 1_500, 8)])
    stats = faiss.cvar.indexBinaryHash_stats
    stats.reset()
    assert len(set(near_groups(hashes, hashes, 20).tolist())) == 1  # 231 million pairs
    assert stats.nq <= 2 * len(np.unique(hashes, axis=0)) <= 3_002


def test_bits_that_hardly_vary_do_not_turn_the_search_into_a_full_one():
    """160 of 256 bits are equal in all pictures, at such places that they would make up whole bands."""
    import faiss

    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 256, (4_000, 32), dtype=np.uint8) & np.packbits(np.arange(256) % 11 < 4)
    stats = faiss.cvar.indexBinaryHash_stats
    stats.reset()
    near_groups(hashes, hashes, 20)
    assert stats.ndis / stats.nq < 1_200  # of 4,000; what 96 bits in 11 bands allow


def test_features_are_grouped_exactly_at_the_asked_similarity():
    rng = np.random.default_rng(0)
    base = rng.standard_normal((120, 24))
    features = np.concatenate([base, base[:60] + rng.standard_normal((60, 24)) * np.linspace(0, 0.6, 60)[:, None]])
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    exact = features.astype(np.float64) @ features.T.astype(np.float64)
    found = partition(similar_groups(features, 0.95))
    assert found == components(exact >= 0.95)
    assert 120 < len(found) < 180
    pair = features[[0, 120]]
    least = float(exact[0, 120])
    assert [len(set(similar_groups(pair, at).tolist())) for at in (least - 1e-12, least + 1e-7)] == [1, 2]


def photo(seed, size=96):
    noise = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((size, size), Image.Resampling.BICUBIC)


def recompressed(image):
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=40)
    return Image.open(buffer)


@pytest.fixture
def measured(tmp_path):
    def measures(image):
        image.save(tmp_path / "picture.png")
        return measure(tmp_path / "picture.png")

    return measures


def bits_between(a, b):
    return imagehash.hex_to_hash(a) - imagehash.hex_to_hash(b)


@pytest.mark.parametrize("change", [
    pytest.param(recompressed, id="recompressed"),
    pytest.param(lambda image: image.resize((61, 61)), id="resized"),
    pytest.param(lambda image: image.filter(ImageFilter.GaussianBlur(1)), id="blurred"),
    pytest.param(lambda image: image.point(lambda v: int(0.7 * v + 20)), id="darker and flatter"),
])  # fmt: skip
def test_a_processed_copy_stays_near_and_another_picture_far(measured, change):
    here, there, other = (measured(image)["img_phash"] for image in (photo(1), change(photo(1)), photo(2)))
    assert bits_between(here, there) <= 16
    assert bits_between(here, other) > 80


def test_the_hash_is_that_of_imagehash_and_so_is_the_mirror_image_s(measured):
    for seed, size in ((1, 96), (2, 17), (3, 301)):
        picture = photo(seed, size).crop((0, 0, size, size // 2 + 8))
        row = measured(picture)
        mirror = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        assert row["img_phash"] == str(imagehash.dhash(picture, 16))
        assert bits_between(row["mirror_phash"], str(imagehash.dhash(mirror, 16))) <= 1


def row(identifier, species="P", side=40, licence="CC0-1.0"):
    return {
        "identifier": identifier, "scientificName": species, "img_width": side, "img_height": side, "license": licence,
    }  # fmt: skip


def judged(rows, near):
    mark_sets(rows, {"near": near})
    return judge_sets(rows)


def test_the_largest_copy_stays_then_the_freest_licence():
    rows = [row("a"), row("b", side=41, licence=None), row("c"), row("d", side=300)]
    assert judged(rows, [0, 0, 0, 1]) == {"a": "duplicate", "c": "duplicate"}
    assert [r["qc_duplicate_set"] for r in rows] == ["a", "a", "a", "d"]
    wide, large = row("a") | {"img_width": 90, "img_height": 30}, row("b") | {"img_width": 60, "img_height": 60}
    assert judged([wide, large], [0, 0]) == {"a": "duplicate"}
    licences = ["CC-BY-NC-4.0", "CC-BY-4.0", None, "CC-BY-SA-4.0"]
    rows = [row(name, licence=licence) for name, licence in zip("abcd", licences, strict=True)]
    assert set("abcd") - judged(rows, [0] * 4).keys() == {"b"}


def test_licences_are_ordered_by_what_they_allow():
    freest_first = [
        "CC0-1.0", "CC-PDM-1.0", "CC-BY-2.5", "LicenseRef-CC-BY-SA", "CC-BY-NC-4.0", "CC-BY-NC-SA-3.0", "CC-BY-ND-4.0",
        "CC-BY-NC-ND-4.0", "LicenseRef-own",
    ]  # fmt: skip
    assert [freedom(name) for name in freest_first] == list(range(9))
    assert freedom("LicenseRef-CC-BY") == freedom("CC-BY-4.0") == freedom("CC-BY-2.0")
    assert freedom(None) == freedom("") == 8


def test_which_of_equal_copies_stays_depends_neither_on_their_order_nor_on_their_names():
    rows = [row(name) for name in "abcd"]
    assert judged(rows, [0] * 4) == judged(rows[::-1], [0] * 4)
    stayed = {
        next(iter({f"{k}a", f"{k}b"} - judged([row(f"{k}a"), row(f"{k}b")], [0, 0]).keys()))[-1] for k in range(30)
    }
    assert stayed == {"a", "b"}  # not always the first by name


def test_a_picture_under_two_species_is_dropped_with_all_its_copies():
    rows = [row("a"), row("b", side=90), row("c", "Q"), row("d", "Q")]
    assert judged(rows, [0, 0, 0, 1]) == dict.fromkeys("abc", "duplicate_of_two_species")


def test_the_strongest_tie_to_another_member_names_the_kind():
    rows = [row(name) for name in "abcdefg"]
    mark_sets(rows, {
        "embedding": [0, None, None, None, 0, None, None],
        "near": [0, 0, 0, 0, 1, 2, 3],
        "pixel": ["p", "p", "p", "q", "r", "s", "t"],
        "exact": ["x", "x", "y", "z", "u", "v", "w"],
    })  # fmt: skip
    assert [r["qc_duplicate_kind"] for r in rows] == ["exact", "exact", "pixel", "near", "embedding", None, None]
    assert [r["qc_duplicate_set"] for r in rows] == ["a", "a", "a", "a", "a", "f", "g"]


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
