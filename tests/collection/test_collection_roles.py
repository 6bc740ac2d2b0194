"""The zero-shot protocol: who is seen, on trial or unseen, what each role fills, and that nothing crosses."""

import json
import random
from collections import Counter, defaultdict

import pytest

from taxaforge import tables
from taxaforge.collection.roles import MAY, Misplaced, NoRoles, held_apart, roles_of
from taxaforge.collection.schema import DUPLICATES, LEAKAGE, METADATA, SPLITS, TAIL
from taxaforge.collection.split import split
from taxaforge.collection.tail import TooFewImages

ZERO = {
    "kind": "zero_shot", "shots": 6, "seen": "few_shot", "unseen": [], "unseen_share": 0.25, "unseen_block": "species",
    "trial_share": 0.25,
}  # fmt: skip
SPLIT = {"unit": "event", "cut": "", "block_km": 50.0, "short": "stop", "validation": 4, "test": 7, "reserve": 9}


def records(count, per_genus=1, per_family=1):
    return [
        {"species": f"S{i:02d}", "genus": f"G{i // per_genus}", "family": f"F{i // per_family}", "order": None}
        for i in range(count)
    ]


def by_role(roles):
    found = defaultdict(set)
    for name, role in roles.items():
        found[role].add(name)
    return found


# ---------------------------------------------------------------- who has which role


@pytest.mark.parametrize("count, unseen, trial", [(5, 2, 1), (6, 2, 2), (8, 2, 2), (12, 3, 2), (40, 10, 8)])
def test_shares_of_the_species_are_held_back_and_never_too_few(count, unseen, trial):
    found = by_role(roles_of(records(count), ZERO, 0))
    assert {role: len(names) for role, names in found.items()} == {
        "unseen": unseen,
        "trial": trial,
        "seen": count - unseen - trial,
    }


def test_the_order_of_the_list_does_not_matter_and_a_seed_does():
    listed = records(20)
    assert roles_of(listed, ZERO, 0) == roles_of(listed[::-1], ZERO, 0)
    assert len({tuple(sorted(roles_of(listed, ZERO, seed).items())) for seed in range(8)}) == 8


def test_a_species_that_joins_moves_few_others():
    moved = []
    for seed in range(30):
        before = roles_of(records(20), ZERO, seed)
        after = roles_of([*records(20), {"species": "New", "genus": "N", "family": "N"}], ZERO, seed)
        moved.append(sum(before[name] != after[name] for name in before))
    assert max(moved) <= 4 and sum(moved) / 30 < 2


@pytest.mark.parametrize("rank, size", [("genus", 2), ("family", 4)])
def test_blocks_are_held_back_whole(rank, size):
    listed = records(24, per_genus=2, per_family=4)
    for seed in range(10):
        roles = roles_of(listed, ZERO | {"unseen_block": rank}, seed)
        of_block = defaultdict(set)
        for record in listed:
            of_block[record[rank]].add(roles[record["species"]])
        assert all(len(found) == 1 for found in of_block.values())
        found = by_role(roles)
        assert len(found["unseen"]) in (6, 4) and len(found["trial"]) == 4 and len(found["unseen"]) % size == 0


def test_a_block_that_is_too_large_is_taken_only_where_there_is_no_smaller():
    listed = [{"species": f"S{i}", "genus": "Big" if i < 12 else f"G{i // 3}"} for i in range(24)]
    for seed in range(10):
        found = by_role(roles_of(listed, ZERO | {"unseen_block": "genus"}, seed))
        assert found["seen"] >= {f"S{i}" for i in range(12)} and len(found["unseen"]) == 6


def test_named_species_are_unseen_and_the_trial_ones_are_others():
    roles = roles_of(records(9), ZERO | {"unseen": ["S03", "S07"]}, 0)
    found = by_role(roles)
    assert found["unseen"] == {"S03", "S07"} and len(found["trial"]) == 2


@pytest.mark.parametrize("count, change, says", [
    pytest.param(9, {"unseen": ["S03", "S7"]}, ["'S7', which is no", "did you mean 'S"], id="no such species"),
    pytest.param(4, {}, ["2 are unseen, 0 on trial and 2 seen", "unseen_share"], id="too few species"),
    pytest.param(6, {"unseen": [f"S{i:02d}" for i in range(4)]}, ["4 are unseen", "name fewer"], id="too many named"),
    pytest.param(9, {"unseen_share": 0.9}, ["8 are unseen", "Lower protocol.unseen_share"], id="share too large"),
])  # fmt: skip
def test_species_that_cannot_be_shared_out_stop_the_run(count, change, says):
    with pytest.raises(NoRoles) as error:
        roles_of(records(count), ZERO | change, 0)
    assert all(part in str(error.value) for part in says), str(error.value)


@pytest.mark.parametrize("kind", ["few_shot", "full"])
def test_in_the_other_protocols_every_species_is_seen(kind):
    assert roles_of(records(4), {"kind": kind, "shots": 3}, 0) == dict.fromkeys((f"S{i:02d}" for i in range(4)), "seen")


# ---------------------------------------------------------------- what they fill


def image(species, k, observer, day="2024-05-01", **known):
    name = f"{species}-{k:03d}"
    own = {
        "identifier": name, "file_name": f"images/{name}.png", "sha256": name, "scientificName": species,
        "verbatimScientificName": species, "recordedBy": observer, "eventDate": day, "source": "folder", "caption": "",
        "errorCode": "", "img_format": "PNG", "img_width": 64, "img_height": 64, "img_pixel_sha256": name,
        "img_phash": "0" * 64, "qc_contrast": 30.0, "qc_sharpness": 50.0, "qc_mono": False, "qc_duplicate_set": name,
    }  # fmt: skip
    return dict.fromkeys(METADATA.columns) | own | known


def own_rows(species, count, each=3, **known):
    """Pictures whose observers each saw one species."""
    return [image(name, k, f"{name} {k // each}", **known) for name in species for k in range(count)]


def run(folder, rows, listed, protocol=ZERO, seed=0, previous=None, **changes):
    """(identifier -> split, species -> split -> pictures, roles), written and checked by every rule that holds always."""
    tables.write(METADATA, rows, folder / "metadata.parquet")
    tables.write(DUPLICATES, [], folder / "duplicates.parquet")
    (folder / "classes.json").write_text(json.dumps(listed))
    split(
        metadata=folder / "metadata.parquet", duplicates=folder / "duplicates.parquet", classes=folder / "classes.json",
        split=SPLIT | changes, protocol=protocol, seed=seed, out_splits=folder / "splits.parquet", previous=previous,
        out_leakage=folder / "leakage.csv", out_tail=folder / "tail.csv", out_roles=folder / "roles.json",
    )  # fmt: skip
    table, roles = tables.read(SPLITS, folder / "splits.parquet"), json.loads((folder / "roles.json").read_text())
    counts = defaultdict(Counter)
    for row in table:
        counts[row["scientificName"]][row["split"]] += 1
        assert row["split"] in MAY[roles[row["scientificName"]]]
    assert not any(row["ties"] for row in tables.read(LEAKAGE, folder / "leakage.csv") if row["forbidden"])
    assert len(table) == len(rows)
    return {row["identifier"]: row["split"] for row in table}, counts, roles


NAMES = [f"S{i:02d}" for i in range(8)]


@pytest.mark.parametrize("seen, train, unused", [("few_shot", 6, 4), ("full", 10, 0)])
def test_each_role_gets_exactly_its_splits(tmp_path, seen, train, unused, capsys):
    _, counts, roles = run(tmp_path, own_rows(NAMES, 30, each=1), records(8), ZERO | {"seen": seen})
    want = {
        "seen": {"train": train, "validation": 4, "test": 7, "reserve": 9, "unused": unused},
        "trial": {"validation": 4, "reserve": 9, "unused": 17},
        "unseen": {"test": 7, "reserve": 9, "unused": 14},
    }
    assert Counter(roles.values()) == {"seen": 4, "trial": 2, "unseen": 2}
    for name, role in roles.items():
        assert dict(counts[name]) == {part: n for part, n in want[role].items() if n}
    told = capsys.readouterr().out
    assert "2 of 8 species are unseen" in told and "2 of 8 species are trial" in told and "cannot" not in told
    assert {row["short"] for row in tables.read(TAIL, tmp_path / "tail.csv")} == {""}


def test_seen_species_are_dealt_as_in_few_shot(tmp_path):
    """Where groups hold one species, what a seen one gets, and the test of an unseen one, is what it is without roles."""
    rows = own_rows(NAMES, 40)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    where, _, roles = run(tmp_path / "a", rows, records(8))
    plain, _, _ = run(tmp_path / "b", rows, records(8), {"kind": "few_shot", "shots": 6})
    for identifier, part in where.items():
        if roles[identifier[:3]] == "seen" or part == "test":
            assert plain[identifier] == part


def test_the_order_of_the_tables_changes_no_byte(tmp_path):
    rows = own_rows(NAMES, 30)
    run(tmp_path, rows, records(8))
    files = [(tmp_path / name).read_bytes() for name in ("splits.parquet", "leakage.csv", "tail.csv")]
    before = json.loads((tmp_path / "roles.json").read_text())
    run(tmp_path, random.Random(0).sample(rows, len(rows)), records(8)[::-1])
    assert [(tmp_path / name).read_bytes() for name in ("splits.parquet", "leakage.csv", "tail.csv")] == files
    assert json.loads((tmp_path / "roles.json").read_text()) == before


@pytest.mark.parametrize("unit", ["observer", "occurrence", "spatial"])
@pytest.mark.parametrize("seen", ["few_shot", "full"])
def test_observers_who_saw_species_of_all_roles_lie_in_one_split(tmp_path, unit, seen):
    for trial in range(6):
        rng = random.Random(trial)
        rows = []
        for name in NAMES:
            for k in range(60):
                shared = rng.randrange(25) if rng.random() < 0.4 else None
                own = 100 * (NAMES.index(name) + 1) + k // 2
                place = own if shared is None else shared
                rows.append(image(
                    name, k, f"Observer {place}", gbifID=f"{name}{k // 2}" if unit == "occurrence" else None,
                    decimalLatitude=place % 50 * 1.5, decimalLongitude=place // 50 * 4.0, coordinateUncertaintyInMeters=10.0,
                ))  # fmt: skip
        where, counts, roles = run(tmp_path, rows, records(8), ZERO | {"seen": seen}, seed=trial, unit=unit)
        for name, role in roles.items():
            assert counts[name]["test"] == (0 if role == "trial" else 7)
            assert counts[name]["validation"] == (0 if role == "unseen" else 4)
            if role == "seen":
                assert counts[name]["train"] == 6 if seen == "few_shot" else counts[name]["train"] >= 1
        if unit == "observer":
            used = defaultdict(set)
            for row in rows:
                used[row["recordedBy"]].add(where[row["identifier"]])
            assert all(len(parts - {"unused"}) <= 1 for parts in used.values())


def test_the_reserve_of_held_back_species_takes_no_group_from_training(tmp_path):
    """Observers who each saw all species: a reserve that were filled first would leave the seen ones without training."""
    rows = [image(name, k, f"Observer {k}") for name in NAMES for k in range(20)]
    _, counts, roles = run(tmp_path, rows, records(8), unit="observer")
    for name, role in roles.items():
        assert counts[name]["train"] == (6 if role == "seen" else 0)
        assert counts[name]["reserve"] == 3  # 20 observers: 7 test, 4 validation, 6 train


def test_an_unseen_species_keeps_out_of_training_whatever_an_earlier_split_said(tmp_path):
    rows = own_rows(NAMES, 40, each=1)
    _, _, roles = run(tmp_path, rows, records(8))
    earlier = [
        {
            "identifier": row["identifier"],
            "split": "train" if k % 40 < 5 else "reserve",
            "group": "g",
            "scientificName": "s",
        }
        for k, row in enumerate(rows)
        if k % 40 < 10
    ]
    tables.write(SPLITS, earlier, tmp_path / "earlier.parquet")
    where, counts, roles = run(tmp_path, rows, records(8), previous=tmp_path / "earlier.parquet")
    for name, role in roles.items():
        first = {where[f"{name}-{k:03d}"] for k in range(5)}
        assert first == ({"train"} if role == "seen" else {"unused"})
        assert {where[f"{name}-{k:03d}"] for k in range(5, 10)} == {"reserve"} and counts[name]["reserve"] == 9


def test_an_official_split_gives_unseen_species_their_own_test_and_no_training(tmp_path):
    rows = [
        image(name, k, f"{name} {k}", officialSplit="test" if k < 5 else "train") for name in NAMES for k in range(25)
    ]
    _, counts, roles = run(tmp_path, rows, records(8), unit="official", validation=4)
    for name, role in roles.items():
        assert counts[name]["test"] == (0 if role == "trial" else 5)
        assert counts[name]["train"] == (6 if role == "seen" else 0) and counts[name]["reserve"] == 9


def rows_with_few(few, count, kind="unseen"):
    """Rows in which `few` species of a role have `count` pictures, the others 40; and the species that have few."""
    roles = roles_of(records(12), ZERO, 0)
    poor = sorted(name for name, role in roles.items() if role == kind)[:few]
    return [row for name in roles for row in own_rows([name], count if name in poor else 40, each=1)], poor


@pytest.mark.parametrize("kind, count", [("unseen", 5), ("trial", 3), ("seen", 15)])
def test_a_species_that_cannot_fill_its_role_stops_the_run_and_is_named(tmp_path, kind, count):
    rows, poor = rows_with_few(1, count, kind)
    with pytest.raises(TooFewImages, match=f"{poor[0]} has {count}"):
        run(tmp_path, rows, records(12))


def test_held_back_species_that_are_short_are_left_out_and_never_trained_on(tmp_path, capsys):
    rows, poor = rows_with_few(1, 5)
    _, counts, roles = run(tmp_path, rows, records(12), short="train")
    assert counts[poor[0]] == {"unused": 5} and roles[poor[0]] == "unseen"
    told = capsys.readouterr().out
    assert f"{poor[0]}: too few images for this role" in told and "train only" not in told
    rows, poor = rows_with_few(2, 5)
    with pytest.raises(TooFewImages, match="At least two species must fill"):
        run(tmp_path, rows, records(12), short="train")


def test_a_seen_species_that_is_short_trains_only(tmp_path, capsys):
    rows, poor = rows_with_few(1, 15, "seen")
    _, counts, _ = run(tmp_path, rows, records(12), short="train")
    assert counts[poor[0]] == {"train": 15}
    assert "1 of" in capsys.readouterr().out


# ---------------------------------------------------------------- planted


@pytest.mark.parametrize(
    "role, part", [("unseen", "train"), ("unseen", "validation"), ("trial", "train"), ("trial", "test")]
)
def test_a_planted_picture_raises_and_is_named(role, part):
    roles = {"Aa a": "seen", "Bb b": role}
    held_apart([("x", "Aa a", part), ("y", "Bb b", "reserve"), ("z", "Bb b", "unused")], roles)
    with pytest.raises(Misplaced, match=f"'planted' shows Bb b, which is {role} .* lies in '{part}'"):
        held_apart([("x", "Aa a", part), ("planted", "Bb b", part)], roles)


def test_a_fault_in_dealing_cannot_reach_the_splits(tmp_path, monkeypatch):
    from taxaforge.collection import split as module

    def faulty(kept, *rest):
        return dict.fromkeys((row["identifier"] for row in kept), "train"), {}

    monkeypatch.setattr(module, "fill_by_role", faulty)
    with pytest.raises(Misplaced):
        run(tmp_path, own_rows(NAMES, 30), records(8))
    assert not (tmp_path / "splits.parquet").exists()
