"""From list to classes, offline and against the replica of GBIF."""

import random
import subprocess
import sys
import unicodedata
from contextlib import contextmanager

import pytest

from taxaforge.taxonomy import asking
from taxaforge.taxonomy.answers import Answer, Usage
from taxaforge.taxonomy.asking import NamesNotAnswered, ask_all, question
from taxaforge.taxonomy.keys import TaxonKey
from taxaforge.taxonomy.outcomes import OneNameTwoSpecies
from taxaforge.taxonomy.overrides import COLUMNS, candidate_set
from taxaforge.taxonomy.resolve import NoSpecies
from taxaforge.taxonomy.schema import POLICY, RANKS, STATUSES
from taxaforge.taxonomy.taxa_list import Entry
from taxaforge.taxonomy.transport import Unavailable

MIXED = [
    "Inachis io",
    "Pieris rapae",
    "Ficus variegata",
    "Aglais sp.",
    "Xqz blorptifer",
    "Salix × fragilis",
    "Pica_pica",
    "nan",
]


def test_every_name_gets_one_status_and_only_labels_become_classes(tmp_path, resolved):
    run = resolved(tmp_path, MIXED)
    assert run.status == {
        "Inachis io": "exact_synonym",
        "Pieris rapae": "exact_accepted",
        "Ficus variegata": "ambiguous_homonym",
        "Aglais sp.": "rolled_up_to_genus",
        "Xqz blorptifer": "no_match",
        "Salix × fragilis": "excluded_name_type",
        "Pica_pica": "exact_accepted",
        "nan": "empty",
    }
    assert set(run.status.values()) <= STATUSES
    assert [record["species"] for record in run.classes] == ["Aglais io", "Pieris rapae", "Pica pica"]
    assert all(set(record) == {*RANKS, "taxonID", "vernacularName"} for record in run.classes)
    assert {row["verbatimName"] for row in run.review} == {
        name for name, status in run.status.items() if status not in POLICY
    }
    assert len(run.taxa) == len(MIXED) == sum(row["label"] for row in run.taxa) + len(run.review)
    (step, counts), *_ = run.logged
    assert step is None and counts["names"] == 8 and counts["species"] == 3 and counts["review"] == 5
    assert sum(n for key, n in counts.items() if key.startswith("status_")) == 8


def test_the_ledger_reconciles(tmp_path, resolved):
    run = resolved(tmp_path, [*MIXED, "Pieris rapae"])
    assert run.ledger["in"] == 9 == sum(run.ledger["statuses"].values()) == len(run.taxa)
    assert run.ledger["species"] == 3 == len(run.classes)
    assert run.ledger["statuses"]["exact_accepted"] == 3


def test_a_row_without_label_carries_no_taxon_that_could_be_used_by_mistake(tmp_path, resolved):
    for row in resolved(tmp_path, MIXED).taxa:
        filled = [
            row[name] for name in ("taxonID", "scientificName", "taxonRank", "lineageSource", *RANKS) if row[name]
        ]
        assert bool(filled) == row["label"], row


def test_the_review_shows_the_candidates_and_what_an_override_needs(tmp_path, resolved):
    lines = ["Ficus variegata,", "Xqz blorptifer,Animalia", "Aglais io,"]
    run = resolved(tmp_path, lines, header="scientificName,kingdom")
    fig, nothing = run.review
    assert fig["candidates"].count("Ficus variegata") >= 2
    assert "Moraceae" in fig["candidates"] and "Ficidae" in fig["candidates"]
    assert nothing["hints"] == "kingdom=Animalia" and fig["hints"] == "" and not nothing["candidates"]
    assert len(fig["candidateSet"]) == 16 and fig["candidateSet"] != nothing["candidateSet"]


def test_the_order_of_the_list_changes_nothing_but_the_order_of_rows(tmp_path, resolved):
    first = resolved(tmp_path / "a", MIXED)
    shuffled = random.Random(1).sample(MIXED, len(MIXED))
    second = resolved(tmp_path / "b", shuffled)
    assert first.bytes("classes", "ledger", "provenance") == second.bytes("classes", "ledger", "provenance")
    strip = lambda rows: sorted(({k: v for k, v in row.items() if k != "row"} for row in rows), key=str)  # noqa: E731
    assert strip(first.taxa) == strip(second.taxa)
    assert [row["verbatimName"] for row in second.taxa] == shuffled


def test_the_same_run_twice_writes_the_same_bytes(tmp_path, resolved):
    assert resolved(tmp_path / "a", MIXED).bytes() == resolved(tmp_path / "b", MIXED).bytes()


def test_synonym_and_accepted_name_are_one_class_and_it_is_said(tmp_path, resolved, capsys):
    lines = ["Inachis io,Old peacock", "Aglais io,Peacock", "Papilio io,A butterfly"]
    run = resolved(tmp_path, lines, header="scientificName,vernacularName")
    assert [(record["species"], record["vernacularName"]) for record in run.classes] == [("Aglais io", "Peacock")]
    assert "Aglais io: one species for 'Inachis io', 'Aglais io', 'Papilio io'" in capsys.readouterr().err


def test_rows_that_became_one_species_are_listed_with_how(tmp_path, resolved):
    lines = ["Pica pica", "Aglais io", "Inachis io", "Aglais io ", "Vanessa cardui", "Polyommatus bellarga",
             "Polyommatus bellargus", "Danaus plexippus imaginaria", "Danaus plexippus", "Xqz one", "Xqz one"]  # fmt: skip
    run = resolved(tmp_path, lines)
    assert [(row["scientificName"], row["row"], row["kind"]) for row in run.collisions] == [
        ("Aglais io", 2, "same_name"),
        ("Aglais io", 3, "synonym"),
        ("Aglais io", 4, "same_name"),
        ("Danaus plexippus", 8, "infraspecific"),
        ("Danaus plexippus", 9, "accepted"),
        ("Polyommatus bellargus", 6, "variant"),
        ("Polyommatus bellargus", 7, "accepted"),
    ]
    assert {row["taxonID"] for row in run.collisions} <= {record["taxonID"] for record in run.classes}
    assert [row["status"] for row in run.taxa if row["verbatimName"] == "Xqz one"] == ["no_match", "no_match"]


def test_composed_and_decomposed_accents_are_one_question(tmp_path):
    names = [unicodedata.normalize(form, "Isoëtes lacustris") for form in ("NFC", "NFD")]
    keys = {question(entry.parsed(), entry) for entry in (Entry(1, name, "", None, {}) for name in names)}
    assert len(keys) == 1


def test_hints_and_author_of_their_own_columns_choose_the_homonym(tmp_path, resolved):
    run = resolved(tmp_path / "k", ["Ficus variegata,Plantae"], header="scientificName,kingdom")
    assert run.classes[0]["family"] == "Moraceae" and run.taxa[0]["hints"] == "kingdom=Plantae"
    run = resolved(tmp_path / "a", ['Ficus variegata,"Röding, 1798"'], header="scientificName,scientificNameAuthorship")
    assert run.classes[0]["family"] == "Ficidae"


def test_two_taxa_of_one_name_cannot_both_be_classes(tmp_path, resolved):
    lines = ["Ficus variegata,Plantae", "Ficus variegata,Animalia"]
    with pytest.raises(OneNameTwoSpecies, match=r"\(row 1\), 'Ficus variegata' \(row 2\) are 2 different taxa"):
        resolved(tmp_path, lines, header="scientificName,kingdom")
    assert [path.name for path in tmp_path.iterdir()] == ["list.csv"]


def test_no_species_at_all_is_an_error_and_nothing_is_written(tmp_path, resolved):
    with pytest.raises(NoSpecies, match=r"None of 2 names .* 'Xqz blorptifer' \(no_match"):
        resolved(tmp_path, ["Xqz blorptifer", "Aglais sp."])
    assert [path.name for path in tmp_path.iterdir()] == ["list.csv"]


def test_the_policy_decides_which_statuses_label(tmp_path, resolved):
    lines = ["Inachis io", "Aglais io", "Polyommatus bellarga"]
    strict = resolved(tmp_path / "a", lines, {"accept": ["exact_accepted"]})
    usual = resolved(tmp_path / "b", lines)
    assert [row["label"] for row in strict.taxa] == [False, True, False]
    assert [row["status"] for row in strict.taxa] == [row["status"] for row in usual.taxa]
    assert all(row["label"] for row in usual.taxa) and not usual.review
    assert [row["status"] for row in strict.review] == ["exact_synonym", "orthographic_variant"]


# ------------------------------------------------------------------------------------------------ the list itself


def test_the_lists_own_columns_are_a_lineage(tmp_path, resolved):
    header = "scientificName,kingdom,family,genus"
    lines = [
        "Aus bus,METAZOA,Aidae,",
        "Aus cus minor,Animalia,Aidae,Aus",
        "Dus eus,,,",
        "Fus,,,",
        "Gus sp.,,,",
        "Hus ius,,,Jus",
    ]
    run = resolved(tmp_path, lines, {"source": "list"}, header=header)
    assert [row["status"] for row in run.taxa] == [
        "exact_accepted", "rolled_up_to_species", "exact_accepted", "rolled_up_to_genus", "rolled_up_to_genus", "hint_conflict",
    ]  # fmt: skip
    assert [row["lineageSource"] for row in run.taxa] == ["list", "list", "name_only", None, None, None]
    first = run.row("Aus bus")
    assert (first["taxonID"], first["kingdom"], first["class"], first["genus"]) == (
        "list:Aus bus",
        "Animalia",
        None,
        "Aus",
    )
    assert run.row("Dus eus")["genus"] == "Dus" and run.row("Dus eus")["family"] is None
    assert [record["species"] for record in run.classes] == ["Dus eus", "Aus bus", "Aus cus"]


def test_a_species_that_the_list_puts_in_two_places_is_named(tmp_path, resolved):
    lines = ["Aus bus,Aidae", "Aus bus,Bidae"]
    with pytest.raises(OneNameTwoSpecies, match=r"family Aidae and in family Bidae \(rows 1, 2\)"):
        resolved(tmp_path, lines, {"source": "list"}, header="scientificName,family")


def test_of_several_lineages_of_a_species_the_most_complete_is_the_class(tmp_path, resolved):
    runs = [
        resolved(tmp_path / str(n), lines, {"source": "list"}, header="scientificName,family")
        for n, lines in enumerate((["Aus bus,", "Aus bus,Aidae"], ["Aus bus,Aidae", "Aus bus,"]))
    ]
    assert all(run.classes[0]["family"] == "Aidae" for run in runs)
    assert runs[0].bytes("classes") == runs[1].bytes("classes")


# ------------------------------------------------------------------------------------------------------- asking


def keyed(*written):
    """Question -> name, as a list with these names asks."""
    entries = [Entry(n, name, "", None, {}) for n, name in enumerate(written, 1)]
    return {question(entry.parsed(), entry): entry.parsed() for entry in entries}


def test_each_distinct_name_is_asked_once_in_alphabetical_order():
    asked = []
    names = ["Pica pica", "Aglais sp.", "Aglais cf. io", "Aglais  io", "AGLAIS IO"]
    ask_all(keyed(*names), lambda name, hints: asked.append(name.canonical) or Answer())
    assert asked == ["Aglais", "Aglais io", "Pica pica"]


def test_author_and_classification_make_another_question():
    entries = [
        Entry(1, "Aglais io", "", None, {}),
        Entry(2, "Aglais io", "L.", None, {}),
        Entry(3, "Aglais io", "", None, {"kingdom": "Metazoa"}),
        Entry(4, "Aglais io", "", None, {"kingdom": "animals"}),
        Entry(5, "Aus bus var. cus", "", None, {}),
        Entry(6, "Aus bus subsp. cus", "", None, {}),
    ]
    keys = [question(entry.parsed(), entry) for entry in entries]
    assert keys[2] == keys[3] and len(set(keys)) == 5


LETTERS = [f"Aus b{letter}s" for letter in "abcdefghijkl"]


def test_a_service_that_is_down_is_left_in_peace():
    asked = []

    def ask(name, hints):
        asked.append(name.canonical)
        raise Unavailable("down")

    answers, failures = ask_all(keyed(*LETTERS), ask)
    assert not answers and set(failures) == set(keyed(*LETTERS)) and len(asked) == asking.GIVE_UP_AFTER
    asked.clear()
    ask_all(keyed(*LETTERS), ask, patient=True)
    assert len(asked) == len(LETTERS)


def test_an_answer_in_between_means_the_service_is_not_down():
    def ask(name, hints):
        if name.canonical in {"Aus bds", "Aus bhs"}:
            return Answer()
        raise Unavailable("flaky")

    answers, failures = ask_all(keyed(*LETTERS), ask)
    assert len(answers) == 2 and "Not asked" not in " ".join(map(str, failures.values()))


# ---------------------------------------------------------------------------------------- the replica of GBIF


def live(checklist="col_xr", cross_check=False):
    return {"source": "gbif", "checklist": checklist, "cross_check": cross_check}


NAMES = {
    "Inachis io": "exact_synonym",
    "Vanessa cardui": "exact_accepted",
    "PIERIS RAPAE": "exact_accepted",
    "Adelpha iphicus": "orthographic_variant",
    "Limenitis arthemis astyanax": "exact_accepted",
    "Limenitis astyanax": "exact_synonym",
    "Abaeis nicippe imaginaria": "rolled_up_to_species",
    "Abaeis inexistens": "rolled_up_to_genus",
    "Danaus sp.": "rolled_up_to_genus",
    "Satyrium": "ambiguous_homonym",
    "Colias replicata": "misapplied",
    "Vanessa replicans": "ambiguous_homonym",
    "Aglais replicoides": "provisional",
    "Abaeis nicippe × Abaeis alter": "excluded_name_type",
    "Xqzvwus blorptifer": "no_match",
    "nan": "empty",
}


@pytest.mark.parametrize("checklist", ["col_xr", "gbif_backbone"])
def test_names_are_judged_through_pygbif(tmp_path, monkeypatch, resolved, replica, network, checklist):
    with replica() as server:
        monkeypatch.setenv("GBIF_API_BASE", server.url)
        run = resolved(tmp_path / "run", list(NAMES), live(checklist), network=network)
        report = server.stats.report()
    assert run.status == NAMES
    species = {row["verbatimName"]: row["scientificName"] for row in run.taxa}
    assert species["Inachis io"] == "Aglais io" and species["Limenitis astyanax"] == "Limenitis arthemis"
    assert all(TaxonKey.parse(record["taxonID"]).checklist == checklist for record in run.classes)
    assert all(row["source"] == checklist for row in run.taxa)
    assert report["distinct_connections"] == 1 and report["repeats"] == 0
    assert list(report["user_agents"]) == ["taxaforge/0.1.0 (a@b.org)"]
    asked = [row for row in run.provenance if row["checklist"] == checklist]
    assert len(asked) == len(run.provenance) and {row["query"] for row in asked} >= {"Danaus", "Inachis io"}
    assert all(
        len(row["sha256"]) == 64 and row["release"] and row["retrievedAt"] and row["tries"] == 1 for row in asked
    )


@pytest.mark.parametrize("wrong", ["Dryas iulia", "Pieris rapae", "Satyrium pruni", "Hamadryas amphinome"])
def test_a_wrong_kingdom_never_turns_a_butterfly_into_a_shrub(tmp_path, monkeypatch, resolved, replica, network, wrong):
    with replica() as server:
        monkeypatch.setenv("GBIF_API_BASE", server.url)
        lines = [f"{wrong},Plantae", "Aglais io,Metazoa"]
        run = resolved(tmp_path / "run", lines, live(), header="scientificName,kingdom", network=network)
    assert run.status == {wrong: "hint_conflict", "Aglais io": "exact_accepted"}


@pytest.mark.parametrize(
    "faults", ["default,retry_after=0", "429=.2,503=.2,reset=.2,trunc=.1,html200=.1,charset=.1,notype=.1,retry_after=0"]
)
def test_passing_faults_leave_the_same_bytes(tmp_path, monkeypatch, resolved, replica, network, faults):
    monkeypatch.setattr("taxaforge.taxonomy.transport.SHORTEST_PAUSE_S", 0.01)
    written = []
    for name, spec in (("calm", "none"), ("storm", faults)):
        with replica(spec) as server:
            monkeypatch.setenv("GBIF_API_BASE", server.url)
            own = network | {"store": str(tmp_path / f"{name}_store")}
            run = resolved(tmp_path / name, list(NAMES), live(cross_check=True), network=own)
            served = server.stats.report()["faults_served"]
        written.append(run.bytes("taxa", "review", "classes", "collisions", "ledger"))
    assert written[0] == written[1]
    assert served or "default" in faults  # the storm did blow


def test_one_name_without_an_answer_closes_the_gate_and_the_next_run_asks_only_it(
    tmp_path, monkeypatch, resolved, replica, network
):
    monkeypatch.setattr("taxaforge.taxonomy.transport.SHORTEST_PAUSE_S", 0.001)
    lines = ["Aglais io", "Vanessa cardui", "Pieris rapae", "Danaus plexippus"]
    own = network | {"tries": 2}
    with replica("503=1,permanent=1,on=Vanessa") as server:
        monkeypatch.setenv("GBIF_API_BASE", server.url)
        with pytest.raises(
            NamesNotAnswered, match=r"1 of 4 names got no answer .* 3 did: 'Vanessa cardui' \(transport_error"
        ) as e:
            resolved(tmp_path / "run", lines, live(cross_check=True), network=own)
        assert list(e.value.reasons) == ["Vanessa cardui"]
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["list.csv"]
        server.faults = type(server.faults)("none", 1)  # the same service, well again
        server.stats.clear()
        run = resolved(tmp_path / "run", lines, live(cross_check=True), network=own)
        asked = server.stats.report()["endpoints"]
    assert set(run.status.values()) == {"exact_accepted"}
    assert asked["/v2/species/match"] == 2  # the one name, of either checklist


def test_what_is_stored_answers_offline_with_the_same_bytes_and_a_miss_is_named(
    tmp_path, monkeypatch, resolved, replica, network
):
    with replica() as server:
        monkeypatch.setenv("GBIF_API_BASE", server.url)
        run = resolved(tmp_path / "a", list(NAMES), live(cross_check=True), network=network)
    monkeypatch.setenv("GBIF_API_BASE", "http://127.0.0.1:9")  # nobody there
    offline = network | {"offline": True}
    again = resolved(tmp_path / "b", list(NAMES), live(cross_check=True), network=offline)
    assert run.bytes() == again.bytes()
    strict = resolved(
        tmp_path / "c", list(NAMES), live(cross_check=True) | {"accept": ["exact_accepted"]}, network=offline
    )
    assert {row["status"] for row in strict.taxa if row["label"]} == {"exact_accepted"}
    lines = ["Inachis io", *LETTERS]
    with pytest.raises(NamesNotAnswered, match=r"`taxonomy\.offline` is set.*without it") as caught:
        resolved(tmp_path / "d", lines, live(cross_check=True), network=offline)
    assert list(caught.value.reasons) == LETTERS


def test_two_checklists_are_compared_and_lend_each_other_ranks(tmp_path, monkeypatch, resolved, replica, network):
    with replica() as server:
        monkeypatch.setenv("GBIF_API_BASE", server.url)
        run = resolved(tmp_path / "run", list(NAMES), live(cross_check=True), network=network)
    assert run.status == NAMES
    said = {row["verbatimName"]: row["agreement"] for row in run.taxa}
    assert said["Vanessa cardui"] == "agree" and said["Xqzvwus blorptifer"] == "neither"
    assert said["nan"] is None and said["Danaus sp."] == "neither"
    row = run.row("Vanessa cardui")
    assert row["otherTaxonID"].startswith("gbif_backbone:") and row["otherScientificName"] == "Vanessa cardui"
    assert {row["checklist"] for row in run.provenance} == {"col_xr", "gbif_backbone"}


CHECKLISTS = {
    # canonical name -> (status, species, ranks) in either checklist
    "col_xr": {
        "Aus bus": ("ACCEPTED", "Aus bus", {"kingdom": "Animalia", "order": "Ordo"}),
        "Cus dus": ("SYNONYM", "Aus dus", {"kingdom": "Animalia"}),
        "Eus fus": ("ACCEPTED", "Eus fus", {"kingdom": "Animalia"}),
        "Gus hus": ("DOUBTFUL", "Gus hus", {"kingdom": "Animalia"}),
    },
    "gbif_backbone": {
        "Aus bus": ("ACCEPTED", "Aus bus", {"kingdom": "Animalia", "class": "Classis", "order": "Ordo"}),
        "Cus dus": ("ACCEPTED", "Cus dus", {"kingdom": "Animalia", "class": "Classis"}),
        "Gus hus": ("ACCEPTED", "Gus hus", {"kingdom": "Animalia", "class": "Classis"}),
    },
}


@pytest.fixture
def two_checklists(monkeypatch):
    """The name service by hand; returns the questions in the order in which they came."""
    asked = []

    @contextmanager
    def session(checklist, network):
        def ask(name, hints):
            asked.append((checklist, name.canonical))
            if name.canonical not in CHECKLISTS[checklist]:
                return Answer()
            status, species, ranks = CHECKLISTS[checklist][name.canonical]
            lineage = ranks | {"genus": species.split()[0], "species": species}
            key = f"{checklist}:{species.replace(' ', '')}"
            return Answer(Usage(f"{key}n", name.canonical, "", "species", status, lineage, key))

        yield ask

    monkeypatch.setattr(asking.gbif, "session", session)
    return asked


def test_agreement_and_borrowed_ranks_stand_in_the_table(tmp_path, resolved, two_checklists, network):
    lines = ["Aus bus", "Cus dus", "Eus fus", "Gus hus", "Xus yus", "nan"]
    run = resolved(tmp_path / "run", lines, live(cross_check=True), network=network)
    assert {row["verbatimName"]: row["agreement"] for row in run.taxa} == {
        "Aus bus": "agree", "Cus dus": "differ", "Eus fus": "only_one", "Gus hus": "only_one", "Xus yus": "neither", "nan": None,
    }  # fmt: skip
    first, second, third = run.taxa[:3]
    assert (first["class"], first["filledFrom"]) == ("Classis", "class=gbif_backbone")
    assert (second["class"], second["filledFrom"]) == (None, None)  # another species lends nothing
    assert (second["otherTaxonID"], second["otherScientificName"]) == ("gbif_backbone:Cusdus", "Cus dus")
    assert third["otherTaxonID"] is None and third["lineageSource"] == "col_xr"
    assert next(record for record in run.classes if record["species"] == "Aus bus")["class"] == "Classis"
    assert [key for key, _ in two_checklists] == ["col_xr"] * 5 + ["gbif_backbone"] * 5


def test_a_doubtful_name_that_the_policy_accepts_is_compared_and_filled_too(
    tmp_path, resolved, two_checklists, network
):
    cfg = live(cross_check=True) | {"accept": [*POLICY, "provisional"]}
    row = resolved(tmp_path / "run", ["Gus hus", "Aus bus"], cfg, network=network).taxa[0]
    assert (row["status"], row["label"], row["agreement"], row["class"]) == ("provisional", True, "agree", "Classis")


def test_without_the_cross_check_one_checklist_is_asked(tmp_path, resolved, two_checklists, network):
    run = resolved(tmp_path / "run", ["Aus bus", "aus  bus", "Aus bus"], live("gbif_backbone"), network=network)
    assert two_checklists == [("gbif_backbone", "Aus bus")]
    assert {row["agreement"] for row in run.taxa} == {None} and {row["source"] for row in run.taxa} == {"gbif_backbone"}


def test_a_decision_of_a_person_leaves_the_comparison_as_it_was(tmp_path, resolved, two_checklists, network):
    key = candidate_set(Answer(Usage("col_xr:Ausbusn", "", "", "", "ACCEPTED", {})))
    (tmp_path / "o.csv").write_text(f"{','.join(COLUMNS)}\nAus bus,,exclude,,J. Doe,2026-11-20,voucher,{key}\n")
    lines, cfg = ["Aus bus", "Eus fus"], live(cross_check=True)
    run = resolved(tmp_path / "run", lines, cfg, network=network, overrides=tmp_path / "o.csv")
    row = run.taxa[0]
    assert (row["status"], row["label"], row["agreement"], row["filledFrom"]) == ("override", False, "agree", None)


@pytest.mark.parametrize("silent", ["col_xr", "gbif_backbone"])
def test_a_name_that_one_of_two_checklists_did_not_answer_counts_as_not_answered(
    tmp_path, resolved, two_checklists, network, monkeypatch, silent
):
    inner = asking.gbif.session

    @contextmanager
    def flaky(checklist, network):
        with inner(checklist, network) as ask:

            def asked(name, hints):
                if checklist == silent and name.canonical == "Eus fus":
                    raise Unavailable("503")
                return ask(name, hints)

            yield asked

    monkeypatch.setattr(asking.gbif, "session", flaky)
    with pytest.raises(NamesNotAnswered, match="1 of 2 names") as caught:
        resolved(tmp_path / "run", ["Aus bus", "Eus fus"], live(cross_check=True), network=network)
    assert list(caught.value.reasons) == ["Eus fus"]


def test_the_snapshot_source_needs_no_network_code(root):
    program = (
        "import sys, taxaforge.taxonomy.resolve\n"
        "heavy = {'pygbif', 'torch', 'pandas', 'pyarrow', 'matplotlib', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=root, check=False).returncode == 0


def test_a_label_that_the_list_classifies_differently_is_told(tmp_path, resolved, capsys):
    lines = ["Aglais io,Animalia,Oldfamilyidae", "Pieris rapae,Animalia,Pieridae", "Pica pica,,Otherfamilyidae"]
    run = resolved(tmp_path, lines, header="scientificName,kingdom,family")
    assert run.status == {"Aglais io": "exact_accepted", "Pieris rapae": "exact_accepted", "Pica pica": "hint_conflict"}
    told = [line for line in capsys.readouterr().err.splitlines() if "classified differently" in line]
    assert len(told) == 1 and "'Aglais io'" in told[0] and "family Oldfamilyidae" in told[0]
