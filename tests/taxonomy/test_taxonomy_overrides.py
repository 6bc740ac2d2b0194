"""Decisions of a person: applied over the candidates they were made over, flagged over others, refused where they are no decision."""

import unicodedata

import pytest

from taxaforge.taxonomy.answers import Answer, Usage
from taxaforge.taxonomy.judge import judge
from taxaforge.taxonomy.overrides import COLUMNS, BadOverrides, Overrides, candidate_set
from taxaforge.taxonomy.taxa_list import Entry

LIST = ["Ficus variegata,", "Aglais io,", "Ficus variegata,Fungi", "Xqz blorptifer,"]
HEADER = "scientificName,kingdom"


def table(folder, *lines, header=COLUMNS):
    path = folder / "overrides.csv"
    path.write_text("\n".join([",".join(header), *(",".join(line) for line in lines)]) + "\n", "utf-8")
    return path


def line(run, name, hints="", **changes):
    """A decision over a row of the review list, complete unless changed."""
    row = next((r for r in run.review if (r["verbatimName"], r["hints"]) == (name, hints)), None)
    filled = {
        "verbatimScientificName": name, "hints": hints, "decision": "accept", "taxonID": "", "decidedBy": "J. Doe",
        "decidedOn": "2026-11-20", "reason": "voucher seen", "candidateSet": row["candidateSet"] if row else "0" * 16,
    }  # fmt: skip
    return list((filled | changes).values())


def fig(run):
    """taxonID of the fig among the candidates of Ficus variegata."""
    offered = next(row["candidates"] for row in run.review if row["verbatimName"] == "Ficus variegata").split(" | ")
    return next(text for text in offered if "Plantae" in text).rsplit("[", 1)[1].rstrip("]")


@pytest.fixture
def first(tmp_path, resolved):
    return resolved(tmp_path / "first", LIST, header=HEADER)


def again(tmp_path, resolved, *lines, name="again", names=LIST, **more):
    (tmp_path / name).mkdir(exist_ok=True)
    return resolved(tmp_path / name, names, header=HEADER, overrides=table(tmp_path / name, *lines, **more))


def test_an_acceptance_labels_the_row_and_says_who_when_and_why(tmp_path, resolved, first):
    run = again(tmp_path, resolved, line(first, "Ficus variegata", taxonID=fig(first)))
    row = run.taxa[0]
    assert (row["status"], row["computedStatus"], row["label"]) == ("override", "ambiguous_homonym", True)
    assert (row["taxonID"], row["family"]) == (fig(first), "Moraceae")
    assert all(part in row["reason"] for part in ("J. Doe", "2026-11-20", "voucher seen"))
    assert "Ficus variegata" in [record["species"] for record in run.classes]
    assert [entry["row"] for entry in run.review] == [3, 4]  # the same name with other hints is another row
    assert run.ledger["statuses"] == {"exact_accepted": 1, "hint_conflict": 1, "no_match": 1, "override": 1}


def test_the_key_of_a_synonym_is_followed_by_that_of_its_species(tmp_path, resolved):
    names = ["Inachis io,Plantae", "Pica pica,"]
    first = resolved(tmp_path / "first", names, header=HEADER)
    shown = first.review[0]["candidates"]
    assert "Inachis io" in shown and " of [snapshot:1]" in shown and "[snapshot:1]" not in shown.split(" of ")[0]
    run = again(tmp_path, resolved, line(first, "Inachis io", "kingdom=Plantae", taxonID="snapshot:1"), names=names)
    assert run.taxa[0]["scientificName"] == "Aglais io" and not run.review


def test_an_exclusion_takes_a_label_away_and_stays_in_the_review(tmp_path, resolved, first):
    accepted = first.taxa[1]
    assert accepted["label"] and accepted["computedStatus"] == accepted["status"]
    key = candidate_set(Answer(Usage(accepted["taxonID"], "", "", "", "ACCEPTED", {})))
    names = [*LIST, "Pica pica,"]
    run = again(tmp_path, resolved, line(first, "Aglais io", decision="exclude", candidateSet=key), names=names)
    row = run.taxa[1]
    assert (row["status"], row["computedStatus"], row["label"], row["taxonID"]) == (
        "override",
        "exact_accepted",
        False,
        None,
    )
    assert [record["species"] for record in run.classes] == ["Pica pica"]
    assert "voucher seen" in next(r["reason"] for r in run.review if r["row"] == 2)


def test_a_name_without_candidates_can_be_excluded_but_not_accepted(tmp_path, resolved, first):
    run = again(tmp_path, resolved, line(first, "Xqz blorptifer", decision="exclude"))
    assert run.taxa[3]["status"] == "override" and not run.taxa[3]["label"]
    with pytest.raises(BadOverrides, match="not among the candidates' species: none"):
        again(tmp_path, resolved, line(first, "Xqz blorptifer", taxonID="snapshot:1"), name="b")


def test_a_decision_over_other_candidates_is_flagged_and_not_applied(tmp_path, resolved, first):
    stale = line(first, "Ficus variegata", taxonID=fig(first), candidateSet="0123456789abcdef")
    run = again(tmp_path, resolved, stale)
    row, shown = run.taxa[0], run.review[0]
    assert (row["status"], row["label"]) == ("ambiguous_homonym", False)
    assert "J. Doe" in shown["reason"] and "not applied" in shown["reason"] and shown["candidateSet"] in shown["reason"]


def test_a_stale_decision_over_a_labelled_row_is_flagged_too(tmp_path, resolved, first):
    run = again(tmp_path, resolved, line(first, "Aglais io", decision="exclude"))
    assert run.taxa[1]["label"] and run.taxa[1]["status"] == "exact_accepted"
    assert "not applied" in next(r["reason"] for r in run.review if r["row"] == 2)


@pytest.mark.parametrize(
    "changes, says",
    [
        pytest.param({"decidedBy": ""}, "decidedBy is empty", id="who"),
        pytest.param({"decidedOn": " "}, "decidedOn is empty", id="when"),
        pytest.param({"reason": ""}, "reason is empty", id="why"),
        pytest.param({"candidateSet": ""}, "candidateSet is empty", id="over what"),
        pytest.param({"decision": "maybe"}, "accept or exclude", id="another word"),
        pytest.param({"decidedOn": "20/11/26"}, "2026-11-20", id="a day in another order"),
        pytest.param({"taxonID": ""}, "accept needs the taxonID", id="accept without a species"),
        pytest.param(
            {"taxonID": "snapshot:1"}, "snapshot:1 is not among the candidates", id="a species nobody offered"
        ),
        pytest.param(
            {"verbatimScientificName": "Pieris rapae"}, "no row of the list is 'Pieris rapae'", id="no such row"
        ),
        pytest.param({"hints": "kingdom=Plantae"}, "The list gives it with hints", id="another classification"),
    ],
)
def test_what_is_no_decision_is_an_error_and_nothing_is_written(tmp_path, resolved, first, changes, says):
    with pytest.raises(BadOverrides, match=says):
        again(tmp_path, resolved, line(first, "Ficus variegata", **{"taxonID": fig(first)} | changes))
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == ["list.csv", "overrides.csv"]


def test_two_decisions_over_one_row_are_an_error(tmp_path, resolved, first):
    one = line(first, "Ficus variegata", taxonID=fig(first))
    with pytest.raises(BadOverrides, match="line 2 decides over the same name"):
        again(tmp_path, resolved, one, one)


def test_a_table_with_other_columns_names_the_right_ones(tmp_path, resolved):
    with pytest.raises(BadOverrides, match="candidateSet"):
        again(tmp_path, resolved, ["a"] * 7, header=COLUMNS[:-1])


def test_the_fingerprint_sees_candidates_and_statuses_and_nothing_else():
    def candidate(key, status="ACCEPTED", author=""):
        return Usage(key, "Aus bus", author, "species", status, {}, key)

    one, two = candidate("a:1"), candidate("a:2")
    same = {
        candidate_set(Answer(one, (two,), "EXACT", 99)),
        candidate_set(Answer(None, (two, one))),
        candidate_set(Answer(candidate("a:1", author="L."), (two, one))),
    }
    other = {
        candidate_set(Answer(one)),
        candidate_set(Answer(one, (candidate("a:2", "SYNONYM"),))),
        candidate_set(None),
    }
    assert len(same) == 1 and len(other) == 3 and not same & other
    assert all(len(text) == 16 and int(text, 16) >= 0 for text in same | other)


@pytest.mark.parametrize("checklist, key", [("col_xr", "4D_a"), ("gbif_backbone", "9705453")])
def test_a_key_of_either_checklist_of_gbif_is_taken_as_it_stands(tmp_path, checklist, key):
    taxon = f"{checklist}:{key}"
    answer = Answer(Usage(taxon, "Parus major", "", "species", "DOUBTFUL", {"species": "Parus major"}, taxon))
    cells = ["Parus_major", "", "accept", f" {taxon} ", "J_Doe", "2026-11-20", '"seen_it"', candidate_set(answer)]
    overrides = Overrides(table(tmp_path, cells))
    entry = Entry(1, "Parus  major", "", None, {})
    decided = overrides.decide(entry, judge(entry.parsed(), {}, answer), answer, ["exact_accepted"])
    assert (decided.verdict.status, decided.label, decided.computed) == ("override", True, "provisional")
    assert decided.verdict.usage.species_key == taxon and "J_Doe" in decided.verdict.reason
    overrides.check_used([entry])


def test_accents_of_the_hints_may_be_encoded_either_way(tmp_path):
    entry = Entry(1, "Aus bus", "", None, {"family": "Ünidae"})
    said = unicodedata.normalize("NFD", "family=Ünidae")
    overrides = Overrides(
        table(tmp_path, ["Aus bus", said, "exclude", "", "J", "2026-11-20", "x", candidate_set(None)])
    )
    assert overrides.decide(entry, judge(entry.parsed(), {}, Answer()), None, []).verdict.status == "override"


@pytest.mark.parametrize("checklist", ["col_xr", "gbif_backbone"])
def test_an_acceptance_works_with_the_name_service(tmp_path, monkeypatch, resolved, replica, network, checklist):
    names, cfg = ["Aglais replicoides,", "Aglais io,"], {"source": "gbif", "checklist": checklist}
    with replica() as server:
        monkeypatch.setenv("GBIF_API_BASE", server.url)
        before = resolved(tmp_path / "a", names, cfg, header=HEADER, network=network)
        (review,) = before.review
        key = review["candidates"].split(" | ")[0].rsplit("[", 1)[1].rstrip("]")
        assert key.startswith(f"{checklist}:")
        path = table(tmp_path, line(before, "Aglais replicoides", taxonID=key))
        run = resolved(tmp_path / "b", names, cfg, header=HEADER, network=network, overrides=path)
    assert run.taxa[0]["status"] == "override" and run.taxa[0]["taxonID"] == key and not run.review
