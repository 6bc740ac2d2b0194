"""The training support: other draws of it, long tails, and that test, validation and reserve never notice."""

import hashlib
import json
import random
from collections import Counter, defaultdict

import pytest

from taxaforge import tables
from taxaforge.collection.roles import MAY
from taxaforge.collection.schema import DUPLICATES, LEAKAGE, METADATA, SPLITS, TAIL
from taxaforge.collection.split import split
from taxaforge.collection.support import NoOtherSupport, profile
from taxaforge.collection.tail import TooFewImages

SPLIT = {"unit": "event", "cut": "", "block_km": 50.0, "short": "stop", "validation": 4, "test": 7, "reserve": 9}
FEW = {"kind": "few_shot", "shots": 6}
FULL = {"kind": "full"}
TAILED = {"kind": "long_tail", "shots": 20, "imbalance": 10.0, "order": "drawn", "head": "shots"}
ZERO = {
    "kind": "zero_shot", "shots": 6, "seen": "few_shot", "unseen": [], "unseen_share": 0.25, "unseen_block": "species",
    "trial_share": 0.25,
}  # fmt: skip
NAMES = [f"S{i:02d}" for i in range(6)]
SEALED = ("test", "validation", "reserve")


def image(species, k, observer, **known):
    name = f"{species}-{k:03d}"
    own = {
        "identifier": name, "file_name": f"images/{name}.png", "sha256": name, "scientificName": species,
        "verbatimScientificName": species, "recordedBy": observer, "eventDate": "2024-05-01", "source": "folder",
        "caption": "", "errorCode": "", "img_format": "PNG", "img_width": 64, "img_height": 64, "img_pixel_sha256": name,
        "img_phash": "0" * 64, "qc_contrast": 30.0, "qc_sharpness": 50.0, "qc_mono": False, "qc_duplicate_set": name,
    }  # fmt: skip
    return dict.fromkeys(METADATA.columns) | own | known


def own_rows(counts, each=3):
    """Pictures whose observers each saw one species. counts: species -> pictures."""
    return [image(name, k, f"{name} {k // each}") for name, count in counts.items() for k in range(count)]


def crowd(names, count, seed, people=25):
    """Pictures, some of whose observers saw several species."""
    rng = random.Random(seed)
    return [
        image(name, k, f"Observer {rng.randrange(people) if rng.random() < 0.4 else f'{name} {k // 2}'}")
        for name in names
        for k in range(count)
    ]


def run(folder, rows, protocol, seed=0, previous=None, logged=None, **changes):
    """identifier -> split, checked by what holds always: no forbidden tie crosses, no group lies in two used splits."""
    folder.mkdir(exist_ok=True)
    names = sorted({row["scientificName"] for row in rows})
    tables.write(METADATA, rows, folder / "metadata.parquet")
    tables.write(DUPLICATES, [], folder / "duplicates.parquet")
    (folder / "classes.json").write_text(json.dumps([{"species": name} for name in names]))
    split(
        metadata=folder / "metadata.parquet", duplicates=folder / "duplicates.parquet", classes=folder / "classes.json",
        split=SPLIT | changes, protocol=protocol, seed=seed, out_splits=folder / "splits.parquet", previous=previous,
        out_leakage=folder / "leakage.csv", out_tail=folder / "tail.csv", out_roles=folder / "roles.json",
    )  # fmt: skip
    table = tables.read(SPLITS, folder / "splits.parquet")
    assert not any(row["ties"] for row in tables.read(LEAKAGE, folder / "leakage.csv") if row["forbidden"])
    used = defaultdict(set)
    for row in table:
        used[row["group"]].add(row["split"])
    assert all(len(parts - {"unused"}) <= 1 for parts in used.values())
    return {row["identifier"]: row["split"] for row in table}


def part(where, *names):
    return {identifier: place for identifier, place in where.items() if place in names}


def trained(where):
    return Counter(identifier.rpartition("-")[0] for identifier in part(where, "train"))


def short(folder):
    return {row["scientificName"]: row["short"] for row in tables.read(TAIL, folder / "tail.csv") if row["short"]}


def digest(where):
    return hashlib.sha256(json.dumps(sorted(where.items())).encode()).hexdigest()[:16]


# ---------------------------------------------------------------- what was dealt before stays


@pytest.mark.parametrize("protocol, unit, want", [
    pytest.param(FEW, "event", "41e3814599183272", id="few_shot"),
    pytest.param(FEW, "observer", "e2fb53d141c19ba5", id="few_shot by observer"),
    pytest.param({"kind": "full", "shots": 6}, "observer", "2362f63df0b5da92", id="full"),
    pytest.param(ZERO, "observer", "b23075e0ab71ce90", id="zero_shot"),
])  # fmt: skip
def test_splits_of_the_version_before_draws_are_what_they_were(tmp_path, protocol, unit, want):
    """The digests were computed with the code of 0.1.0 before there were draws."""
    names = [f"S{i:02d}" for i in range(8)]
    assert digest(run(tmp_path, crowd(names, 60, 5), protocol, seed=3, unit=unit)) == want
    assert digest(run(tmp_path, crowd(names, 60, 5), protocol | {"draw": 0}, seed=3, unit=unit)) == want


# ---------------------------------------------------------------- other draws


@pytest.mark.parametrize("unit", ["event", "observer"])
@pytest.mark.parametrize("protocol", [
    pytest.param(FEW, id="few_shot"), pytest.param(TAILED | {"shots": 9, "imbalance": 4.0}, id="long_tail"),
    pytest.param(ZERO, id="zero_shot"),
])  # fmt: skip
def test_another_draw_changes_the_training_images_alone(tmp_path, protocol, unit):
    """Test, validation and reserve are equal image for image; each species trains on as many images as before."""
    names = [f"S{i:02d}" for i in range(8)]
    for seed in range(3):
        rows = crowd(names, 60, seed)
        first, *others = (run(tmp_path, rows, protocol | {"draw": draw}, seed, unit=unit) for draw in range(4))
        roles = json.loads((tmp_path / "roles.json").read_text())
        supports = {frozenset(part(first, "train"))}
        for where in others:
            assert part(where, *SEALED) == part(first, *SEALED)
            assert trained(where) == trained(first)
            assert all(place in MAY[roles[name.rpartition("-")[0]]] for name, place in where.items())
            supports.add(frozenset(part(where, "train")))
        assert len(supports) == 4


def test_every_free_image_is_drawn_as_often_as_the_next(tmp_path):
    """40 images, 20 of them held by the other splits and 6 of 20 free ones drawn: each in about 30 % of the draws."""
    rows = own_rows(dict.fromkeys(NAMES, 40), each=1)
    draws = [run(tmp_path, rows, FEW | {"draw": draw}) for draw in range(1, 41)]
    free = set(part(draws[0], "train", "unused"))
    count = Counter(identifier for where in draws for identifier in part(where, "train"))
    assert set(count) <= free and len(free) == 20 * len(NAMES)
    shares = [count[identifier] / len(draws) for identifier in free]
    assert abs(sum(shares) / len(shares) - 0.3) < 1e-9 and max(shares) < 0.62 and min(shares) > 0.02


def test_a_draw_is_the_same_whatever_the_order_of_the_table(tmp_path):
    rows = crowd(NAMES, 60, 0)
    run(tmp_path, rows, FEW | {"draw": 2})
    files = [(tmp_path / name).read_bytes() for name in ("splits.parquet", "leakage.csv", "tail.csv")]
    run(tmp_path, random.Random(1).sample(rows, len(rows)), FEW | {"draw": 2})
    assert [(tmp_path / name).read_bytes() for name in ("splits.parquet", "leakage.csv", "tail.csv")] == files


def test_species_that_train_only_are_in_every_draw_with_all_they_have(tmp_path):
    rows = own_rows({**dict.fromkeys(NAMES, 60), "Poor": 8})
    first, second = (run(tmp_path, rows, FEW | {"draw": draw}, short="train") for draw in (0, 1))
    assert trained(first)["Poor"] == trained(second)["Poor"] == 8
    assert short(tmp_path)["Poor"] and part(first, *SEALED) == part(second, *SEALED)


def test_it_says_how_much_a_draw_shares_with_the_first(tmp_path, capsys):
    rows = own_rows(dict.fromkeys(NAMES, 29), each=1)
    first = run(tmp_path, rows, FEW)
    capsys.readouterr()
    where = run(tmp_path, rows, FEW | {"draw": 1})
    again = len(set(part(first, "train")) & set(part(where, "train")))
    assert (
        f"36 training images of 54 that test, validation and reserve leave; {again} of them" in capsys.readouterr().out
    )


@pytest.mark.parametrize("protocol", [FEW, FULL])
def test_where_the_first_draw_takes_all_another_is_refused_with_the_remedy(tmp_path, protocol):
    rows = own_rows(dict.fromkeys(NAMES, 26), each=1)
    with pytest.raises(NoOtherSupport, match=r"leave 36 images .* Lower split.reserve or protocol.shots"):
        run(tmp_path, rows, protocol | {"draw": 1})
    run(tmp_path, rows, FEW | {"draw": 1}, reserve=8)


def test_an_earlier_split_holds_its_test_in_every_draw(tmp_path):
    rows = own_rows(dict.fromkeys(NAMES, 60))
    run(tmp_path / "a", rows[: len(rows) // 2] + rows[len(rows) // 2 :: 2], FEW)
    earlier = tmp_path / "a" / "splits.parquet"
    before = {row["identifier"]: row["split"] for row in tables.read(SPLITS, earlier)}
    first, second = (run(tmp_path / "b", rows, FEW | {"draw": draw}, previous=earlier) for draw in (0, 1))
    assert part(first, *SEALED) == part(second, *SEALED) and part(before, *SEALED).items() <= first.items()
    assert trained(first) == trained(second) and part(first, "train") != part(second, "train")


def test_what_the_datasets_own_test_shuts_out_is_in_no_draw(tmp_path):
    rows = [
        image(name, k, f"{name} {k // 2}", officialSplit="test" if k % 9 == 0 else "train")
        for name in NAMES
        for k in range(60)
    ]
    day = {row["identifier"]: row["recordedBy"] for row in rows}
    tests = {row["identifier"] for row in rows if row["officialSplit"] == "test"}
    shut = {day[identifier] for identifier in tests}
    for draw in range(4):
        where = run(tmp_path, rows, FEW | {"draw": draw}, unit="official")
        assert set(part(where, "test")) == tests
        assert not any(day[identifier] in shut for identifier in part(where, "train"))
        assert trained(where) == dict.fromkeys(NAMES, 6)


@pytest.mark.parametrize("protocol", [FEW, TAILED | {"imbalance": 2.0, "shots": 9}])
def test_nothing_of_the_tests_time_is_in_any_draw(tmp_path, protocol):
    """Late pictures that are not tested, and those in records that straddle the cut, train nobody."""
    rows = [
        image(
            name, k, f"{name} {k}", eventDate="2024-05-01" if k < 40 else "2024-07-01",
            gbifID=f"{name}{k % 40}" if k % 40 < 5 else f"{name}{k}",
        )
        for name in NAMES
        for k in range(60)
    ]  # fmt: skip
    early = {row["identifier"] for row in rows if row["eventDate"] < "2024-06"}
    for draw in range(4):
        where = run(tmp_path, rows, protocol | {"draw": draw}, unit="time", cut="2024-06-01")
        assert set(part(where, "train")) <= early and min(trained(where).values()) >= 4


# ---------------------------------------------------------------- long tails


@pytest.mark.parametrize("count, factor, most, want", [
    (6, 10, 20, [20, 13, 8, 5, 3, 2]), (5, 100, 100, [100, 32, 10, 3, 1]), (3, 1, 7, [7, 7, 7]), (4, 1000, 30, [30, 3, 1, 1]),
    (1, 50, 9, [9]), (2, 50, 100, [100, 2]),
])  # fmt: skip
def test_counts_fall_by_the_same_factor_from_species_to_species(count, factor, most, want):
    """`want` by hand: most * factor ** (-c / (count - 1)), rounded, at least one."""
    left = {f"S{i}": 500 for i in range(count)}
    cfg = {"imbalance": factor, "order": "drawn", "head": "shots", "shots": most}
    assert sorted(profile(left, cfg, 0).values(), reverse=True) == want


def test_the_order_is_drawn_by_the_seed_or_by_what_there_is():
    left = {f"S{i:02d}": 100 - i for i in range(10)}
    cfg = TAILED | {"order": "natural"}
    line = sorted(left, key=profile(left, cfg, 0).get, reverse=True)
    assert line == sorted(left) and profile(left, cfg, 5) == profile(left, cfg, 0)
    drawn = [tuple(profile(left, TAILED, seed).items()) for seed in range(6)]
    assert len(set(drawn)) == 6
    assert profile(dict(reversed(left.items())), TAILED, 3) == profile(left, TAILED, 3)
    heads = Counter(max(left, key=profile(left, TAILED, seed).get) for seed in range(200))
    assert len(heads) == 10, "any species may come first"


def test_the_head_may_be_all_that_there_is():
    left = {"A": 80, "B": 300, "C": 90}
    cfg = {"imbalance": 100.0, "order": "natural", "head": "all", "shots": 5}
    assert profile(left, cfg, 0) == {"B": 300, "C": 30, "A": 3}


@pytest.mark.parametrize("unit", ["event", "observer"])
def test_a_long_tail_is_cut_from_training_alone(tmp_path, unit):
    """Test, validation and reserve are those of protocol `full`; training has exactly the profile's counts."""
    rows = crowd(NAMES, 70, 2)
    full = run(tmp_path, rows, FULL, unit=unit)
    left = trained(full)
    where = run(tmp_path, rows, TAILED, unit=unit)
    assert part(where, *SEALED) == part(full, *SEALED)
    want = profile(left, TAILED, 0)
    assert sorted(want.values()) == [2, 3, 5, 8, 13, 20] and trained(where) == want
    assert set(part(where, "train")) < set(part(full, "train"))
    counts = Counter((i.rpartition("-")[0], place) for i, place in where.items() if place in SEALED)
    assert set(counts.values()) == {7, 4, 9} and not short(tmp_path)


def test_species_too_poor_for_their_place_are_listed_with_what_they_have(tmp_path, capsys):
    rows = own_rows({name: 25 if name == "S02" else 60 for name in NAMES}, each=1)
    cfg = next(
        cfg for seed in range(50) if profile(dict.fromkeys(NAMES, 99), cfg := TAILED | {"s": seed}, seed)["S02"] == 20
    )
    where = run(tmp_path, rows, cfg, seed=cfg["s"])
    assert trained(where)["S02"] == 5 and short(tmp_path) == {"S02": "train"}
    told = capsys.readouterr().out
    assert "1 of 6 species have fewer training images than their place asks for: S02 5 of 20" in told
    assert "train only" not in told and len({i for i in part(where, "test") if i.startswith("S02")}) == 7


def test_a_long_tail_still_stops_at_species_that_cannot_be_tested(tmp_path):
    rows = own_rows({**dict.fromkeys(NAMES, 60), "Poor": 8}, each=1)
    with pytest.raises(TooFewImages, match="Poor has 8"):
        run(tmp_path, rows, TAILED)
    where = run(tmp_path, rows, TAILED | {"imbalance": 1.0}, short="train")
    assert trained(where)["Poor"] == 8 and "train" in short(tmp_path)["Poor"].split()


def test_images_are_never_repeated_to_make_up_for_missing_ones(tmp_path):
    where = run(tmp_path, own_rows(dict.fromkeys(NAMES, 24), each=1), TAILED | {"imbalance": 1.0})
    assert trained(where) == dict.fromkeys(NAMES, 4) and len(where) == 24 * len(NAMES)
    assert set(short(tmp_path)) == set(NAMES)
