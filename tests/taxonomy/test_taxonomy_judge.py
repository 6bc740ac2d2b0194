"""What an answer is worth. Reference: the table of statuses, worked out by hand for each case."""

from dataclasses import replace

import pytest

from taxaforge.taxonomy.answers import Answer, Usage
from taxaforge.taxonomy.judge import judge, relation
from taxaforge.taxonomy.names import parse
from taxaforge.taxonomy.schema import POLICY, STATUSES

BUTTERFLY = {"kingdom": "Animalia", "order": "Lepidoptera", "family": "Nymphalidae"}


def usage(name, status="ACCEPTED", species=None, rank=None, author="", **lineage):
    rank = rank or ("genus", "species", "subspecies")[name.count(" ")]
    species = species or (" ".join(name.split()[:2]) if " " in name else None)
    lineage = (
        (lineage or BUTTERFLY) | {"genus": (species or name).split()[0]} | ({"species": species} if species else {})
    )
    return Usage(
        f"test:{name}/{status}/{author}", name, author, rank, status, lineage, f"test:{species}" if species else ""
    )


def status(written, answer, **hints):
    verdict = judge(parse(written), hints, answer)
    assert verdict.status in STATUSES and verdict.reason
    assert verdict.labelled(POLICY) == (verdict.status in POLICY)
    return verdict.status


SHRUB = usage("Calopteryx", kingdom="Plantae", family="Ericaceae")
FIG = usage("Ficus variegata", author="Blume", kingdom="Plantae", family="Moraceae")
SNAIL = usage("Ficus variegata", author="Röding, 1798", kingdom="Animalia", family="Ficidae")


@pytest.mark.parametrize(
    "asked, answered, expected",
    [
        ("Aglais io", "Aglais io", "identical"),
        ("Aus alba", "Aus albus", "ending_variant"),
        ("Abaeis nicipe", "Abaeis nicippe", "ending_variant"),
        ("Danaus plexipus", "Danaus plexippus", "ending_variant"),
        ("Adelpha iphicus", "Adelpha iphiclus", "spelling_variant"),
        pytest.param("Pieris napi", "Pieris rapae", "other_name", id="another species of the genus"),
        pytest.param("Aus io", "Aus ios", "spelling_variant", id="one letter of a short epithet"),
        pytest.param("Aus ino", "Aus oni", "other_name", id="two letters of a short epithet are another word"),
        ("Danaus plexippus imaginaria", "Danaus plexippus", "parent_species"),
        ("Danaus plexipus imaginaria", "Danaus plexippus", "parent_variant"),
        ("Danaus erippus imaginaria", "Danaus plexippus", "other_name"),
        ("Danaus inexistens", "Danaus", "parent_genus"),
        ("Stolas costaricensis", "Stelis costaricensis", "other_genus"),
        ("Pica concolor", "Picea concolor", "other_genus"),
        ("Danaus inexistens", "Diana", "other_genus"),
    ],
)
def test_relation_of_names(asked, answered, expected):
    assert relation(parse(asked), usage(answered)) == expected


def test_a_kingdom_or_nothing_is_no_relative():
    assert relation(parse("Puma concolor"), usage("Plantae", rank="kingdom")) == "higher_taxon"
    assert relation(parse("Puma concolor"), None) == "none"


@pytest.mark.parametrize(
    "written, answer, expected",
    [
        ("Aglais io", Answer(usage("Aglais io")), "exact_accepted"),
        ("Inachis io", Answer(usage("Inachis io", "SYNONYM", "Aglais io")), "exact_synonym"),
        ("Inachis io", Answer(usage("Inachis io", "HETEROTYPIC_SYNONYM", "Aglais io")), "exact_synonym"),
        ("Adelpha iphicus", Answer(usage("Adelpha iphiclus")), "orthographic_variant"),
        ("Danaus plexippus imaginaria", Answer(usage("Danaus plexippus")), "rolled_up_to_species"),
        ("Danaus plexippus ssp.", Answer(usage("Danaus plexippus")), "rolled_up_to_species"),
        ("Danaus plexippus plexippus", Answer(usage("Danaus plexippus plexippus")), "exact_accepted"),
        ("Danaus inexistens", Answer(usage("Danaus")), "rolled_up_to_genus"),
        ("Danaus", Answer(usage("Danaus")), "rolled_up_to_genus"),
        ("Danaus sp.", Answer(usage("Danaus")), "rolled_up_to_genus"),
        ("Danaus cf. plexippus", Answer(usage("Danaus")), "rolled_up_to_genus"),
        ("Nymphalidae", Answer(usage("Nymphalidae", rank="family")), "higher_only"),
        ("Danaus inexistens", Answer(usage("Nymphalidae", rank="family")), "higher_only"),
        ("Aglais io", Answer(usage("Aglais io", "PROVISIONALLY_ACCEPTED")), "provisional"),
        ("Aglais io", Answer(usage("Aglais io", "DOUBTFUL")), "provisional"),
        ("Aglais io", Answer(usage("Aglais io", "UNKNOWN")), "provisional"),
        ("Aglais io", Answer(usage("Aglais io", rank="species_aggregate")), "provisional"),
        ("Colias replicata", Answer(usage("Colias replicata", "MISAPPLIED", "Colias philodice")), "misapplied"),
        ("Aus bus", Answer(usage("Aus bus", "AMBIGUOUS_SYNONYM", "Aus cus")), "ambiguous_homonym"),
        ("Stolas costaricensis", Answer(usage("Stelis costaricensis")), "fuzzy_other_genus"),
        ("Pieris napi", Answer(usage("Pieris rapae")), "no_match"),
        ("Xqz blorptifer", Answer(), "no_match"),
        ("Salix × fragilis", Answer(), "excluded_name_type"),
        ("nan", Answer(), "empty"),
    ],
)
def test_status_of_an_answer(written, answer, expected):
    assert status(written, answer) == expected


def test_an_open_name_never_labels_even_if_the_source_answers_a_species():
    assert status("Aglais sp.", Answer(usage("Aglais io"))) not in POLICY


def test_the_label_is_the_species_of_the_accepted_lineage():
    verdict = judge(
        parse("Limenitis astyanax"), {}, Answer(usage("Limenitis astyanax", "SYNONYM", "Limenitis arthemis"))
    )
    assert (
        verdict.usage.lineage["species"] == "Limenitis arthemis"
        and verdict.usage.species_key == "test:Limenitis arthemis"
    )
    assert "Limenitis arthemis" in verdict.reason


def test_a_change_of_genus_is_said():
    assert "Another genus" in judge(parse("Inachis io"), {}, Answer(usage("Inachis io", "SYNONYM", "Aglais io"))).reason


@pytest.mark.parametrize(
    "hints, author, expected",
    [
        pytest.param({}, "", "ambiguous_homonym", id="nothing known about the row"),
        pytest.param({"kingdom": "Plantae"}, "", "exact_accepted", id="the kingdom decides"),
        pytest.param({"kingdom": "Viridiplantae"}, "", "exact_accepted", id="by another word"),
        pytest.param({"family": "FICIDAE"}, "", "exact_accepted", id="so does the family"),
        pytest.param({}, "Blume", "exact_accepted", id="so does the author"),
        pytest.param({"kingdom": "Fungi"}, "", "hint_conflict", id="neither"),
        pytest.param({"kingdom": "Animalia"}, "Blume", "ambiguous_homonym", id="kingdom and author of two taxa"),
        pytest.param({}, "Karimba", "ambiguous_homonym", id="author of a third"),
    ],
)
def test_homonyms_are_told_apart_by_the_row_or_not_at_all(hints, author, expected):
    for answer in (Answer(FIG, (SNAIL,)), Answer(SNAIL, (FIG,)), Answer(None, (FIG, SNAIL))):
        assert status(f"Ficus variegata {author}".strip(), answer, **hints) == expected


def test_a_chosen_homonym_is_the_right_one():
    verdict = judge(parse("Ficus variegata"), {"kingdom": "plants"}, Answer(SNAIL, (FIG,)))
    assert verdict.usage is FIG


def test_a_subspecies_of_homonyms_is_ambiguous_too():
    assert status("Ficus variegata minor", Answer(SNAIL, (FIG,))) == "ambiguous_homonym"
    assert status("Ficus variegata minor", Answer(SNAIL, (FIG,)), kingdom="Plantae") == "rolled_up_to_species"


def test_a_wrong_kingdom_is_a_conflict_not_another_species():
    assert status("Aglais io", Answer(usage("Aglais io")), kingdom="Plantae") == "hint_conflict"
    assert status("Calopteryx splendens", Answer(SHRUB), kingdom="Animalia") == "hint_conflict"


def test_a_classification_written_with_authors_is_understood():
    hints = {"kingdom": "Animalia Linnaeus, 1758", "order": "Lepidoptera, Linnaeus"}
    assert status("Aglais io", Answer(usage("Aglais io")), **hints) == "exact_accepted"


def test_ranks_that_one_side_lacks_are_no_conflict():
    assert (
        status("Aglais io", Answer(usage("Aglais io", kingdom="Animalia")), **{"class": "Insecta"}) == "exact_accepted"
    )


def test_the_genus_column_may_hold_the_old_genus():
    assert status("Inachis io", Answer(usage("Inachis io", "SYNONYM", "Aglais io")), genus="Inachis") == "exact_synonym"


def test_the_author_of_a_subspecies_says_nothing_about_its_species():
    answer = Answer(usage("Danaus plexippus", author="(Linnaeus, 1758)"))
    assert status("Danaus plexippus imaginaria Miller, 1900", answer) == "rolled_up_to_species"


def test_two_names_of_one_species_are_no_ambiguity():
    twins = usage("Papilio io", "SYNONYM", "Aglais io"), usage("Papilio io", "SYNONYM", "Aglais io", author="L.")
    assert status("Papilio io", Answer(twins[0], twins[1:])) == "exact_synonym"


def test_two_spellings_equally_near_are_ambiguous():
    assert status("Aus montana", Answer(usage("Aus fontana"), (usage("Aus contana"),))) == "ambiguous_homonym"


def test_a_misapplied_twin_does_not_hide_the_real_name():
    assert status("Aus bus", Answer(usage("Aus bus", "MISAPPLIED", "Aus cus"), (usage("Aus bus"),))) == "exact_accepted"


def test_confidence_and_match_type_decide_nothing():
    for match_type, confidence in (("EXACT", 100), ("NONE", 0), ("HIGHERRANK", 97), (None, None)):
        assert status("Aglais io", Answer(usage("Aglais io"), (), match_type, confidence)) == "exact_accepted"
        assert status("Danaus inexistens", Answer(usage("Danaus"), (), match_type, confidence)) == "rolled_up_to_genus"


def test_a_lineage_that_repeats_a_name_is_not_believed():
    broken = usage("Plantae io", kingdom="Plantae", family="Moraceae")
    assert status("Plantae io", Answer(broken)) == "provisional"


def test_of_candidates_that_mean_the_same_the_sources_own_best_is_taken():
    a, b = (
        usage("Papilio io", "SYNONYM", "Aglais io", author="Z."),
        usage("Papilio io", "SYNONYM", "Aglais io", author="L."),
    )
    for best, other in ((a, b), (b, a)):
        assert judge(parse("Papilio io"), {}, Answer(best, (other,))).usage is best
        assert judge(parse("Papilio io"), {}, Answer(None, (best, other))).usage == min(a, b, key=lambda u: u.key)
    assert judge(parse("Papilio io Z."), {}, Answer(b, (a,))).usage is a  # but not against the author that is given


def test_a_name_that_a_checklist_holds_twice_in_one_place_is_one_taxon():
    accepted, doubtful = usage("Aus bus", author="L."), usage("Aus bus", "DOUBTFUL", author="")
    assert status("Aus bus", Answer(accepted, (doubtful,))) == "exact_accepted"
    rival = Usage("test:2", "Aus bus", "Fabr.", "species", "ACCEPTED", accepted.lineage, "test:2")
    assert status("Aus bus", Answer(accepted, (rival,))) == "ambiguous_homonym"
    assert judge(parse("Aus bus Fabr."), {}, Answer(accepted, (rival,))).usage is rival


def test_of_two_homonyms_by_one_author_the_year_decides():
    one, two = usage("Aus bus", author="Smith, 1900"), usage("Aus bus", author="Smith, 1950", kingdom="Plantae")
    assert status("Aus bus Smith", Answer(one, (two,))) == "ambiguous_homonym"
    assert judge(parse("Aus bus Smith, 1950"), {}, Answer(one, (two,))).usage is two


def test_the_candidate_that_agrees_on_most_ranks_is_meant():
    bare, near = (
        usage("Aus bus", author="One", kingdom="Animalia"),
        replace(usage("Aus bus", author="Two"), species_key="test:2"),
    )
    assert status("Aus bus", Answer(bare, (near,)), kingdom="Animalia") == "ambiguous_homonym"
    found = judge(parse("Aus bus"), {"kingdom": "Animalia", "family": "Nymphalidae"}, Answer(bare, (near,)))
    assert found.usage is near


def test_where_only_a_hint_was_answered_the_genus_is_looked_for_among_the_others():
    plants = usage("Plantae", rank="kingdom", kingdom="Plantae")
    genus = usage("Danaus")
    assert status("Danaus inexistens", Answer(plants, (genus,)), kingdom="Plantae") == "hint_conflict"
    assert status("Danaus inexistens", Answer(usage("Animalia", rank="kingdom"), (genus,))) == "rolled_up_to_genus"


def test_a_status_labels_only_with_a_species_behind_it():
    verdict = judge(parse("Danaus sp."), {}, Answer(usage("Danaus")))
    assert not verdict.labelled(STATUSES)
    nowhere = Usage("test:1", "Aus bus", "", "species", "SYNONYM", {"genus": "Aus"})
    verdict = judge(parse("Aus bus"), {}, Answer(nowhere))
    assert verdict.status == "provisional" and not verdict.labelled(STATUSES)


def test_a_capital_epithet_is_pointed_out():
    assert "lower case" in judge(parse("Danaus Plexippus"), {}, Answer(usage("Danaus"))).reason


def _maple(family="Sapindaceae", **place):
    return usage("Acer campestre", author="L.", kingdom="Plantae", family=family, **place)


@pytest.mark.parametrize(
    "hints, expected",
    [
        pytest.param({"kingdom": "Plantae", "family": "Aceraceae"}, "exact_accepted", id="an older family"),
        pytest.param({"family": "Aceraceae"}, "hint_conflict", id="nothing says that it is the same kingdom"),
        pytest.param(
            {"family": "Aceraceae", "genus": "Acer"}, "hint_conflict", id="a genus below the family says nothing"
        ),
        pytest.param(
            {"kingdom": "Plantae", "order": "Rosales", "family": "Aceraceae"}, "exact_accepted", id="order too"
        ),
        pytest.param(
            {"kingdom": "Animalia", "family": "Aceraceae"}, "hint_conflict", id="another kingdom is no opinion"
        ),
        pytest.param({"genus": "Quercus"}, "hint_conflict", id="another genus is no opinion"),
    ],
)
def test_a_family_that_differs_is_an_opinion_about_the_very_same_name(hints, expected):
    assert status("Acer campestre", Answer(_maple()), **hints) == expected


def test_the_reason_says_how_the_classifications_differ():
    verdict = judge(parse("Acer campestre"), {"kingdom": "Plantae", "family": "Aceraceae"}, Answer(_maple()))
    assert verdict.reason == (
        "The accepted name. Classified differently: family Aceraceae in the list, Sapindaceae in the answer."
    )


def test_a_family_that_differs_stays_a_conflict_where_the_name_is_only_similar_or_borne_twice():
    assert status("Acer campestris", Answer(_maple()), family="Aceraceae") == "hint_conflict"
    twice = replace(_maple("Rosaceae"), key="test:other", species_key="test:other", author="Mill.")
    assert status("Acer campestre", Answer(_maple(), (twice,)), family="Aceraceae") == "hint_conflict"
    assert status("Acer campestre", Answer(_maple(), (twice,)), family="Rosaceae") == "exact_accepted"
    genus = usage("Acer", kingdom="Plantae", family="Sapindaceae")
    assert status("Acer inexistens", Answer(genus), family="Aceraceae") == "hint_conflict"


def test_a_difference_is_kept_beside_the_reason_and_only_where_it_was_forgiven():
    said = {"kingdom": "Plantae", "family": "Aceraceae"}
    assert judge(parse("Acer campestre"), said, Answer(_maple())).differing.startswith("family Aceraceae")
    assert not judge(parse("Acer campestre"), {"kingdom": "Plantae"}, Answer(_maple())).differing
    assert not judge(parse("Acer campestre"), {"family": "Aceraceae"}, Answer(_maple())).differing


def test_a_difference_that_nothing_vouches_for_says_what_to_add_or_delete():
    reason = judge(parse("Acer campestre"), {"family": "Aceraceae"}, Answer(_maple())).reason
    assert "kingdom" in reason and "delete the column" in reason


TIT = usage(
    "Parus major",
    author="Linnaeus, 1758",
    kingdom="Animalia",
    phylum="Chordata",
    order="Passeriformes",
    **{"class": "Aves"},
)
LIZARD = usage("Lacerta agilis", kingdom="Animalia", phylum="Chordata", **{"class": "Squamata"})
TROUT = usage("Salmo trutta", kingdom="Animalia", **{"class": "Teleostei"})
LILY = usage("Lilium martagon", kingdom="Plantae", phylum="Tracheophyta", **{"class": "Liliopsida"})


@pytest.mark.parametrize(
    "found, hints, expected",
    [
        (TIT, {"class": "Insecta"}, "hint_conflict"),
        (TIT, {"kingdom": "Animalia", "class": "Insecta"}, "hint_conflict"),
        (TIT, {"kingdom": "Animalia", "class": "Reptilia"}, "hint_conflict"),
        (TIT, {"kingdom": "Animalia", "class": "Insecta", "order": "Coleoptera"}, "hint_conflict"),
        (TIT, {"kingdom": "Animalia", "order": "Coraciiformes"}, "exact_accepted"),
        (LIZARD, {"kingdom": "Animalia", "class": "Reptilia"}, "exact_accepted"),
        (LIZARD, {"class": "Reptilia"}, "hint_conflict"),
        (LIZARD, {"kingdom": "Animalia", "class": "Amphibia"}, "hint_conflict"),
        (TROUT, {"kingdom": "Animalia", "class": "Actinopterygii"}, "exact_accepted"),
        (LILY, {"phylum": "Tracheophyta", "class": "Monocotyledoneae"}, "exact_accepted"),
        (LILY, {"phylum": "Tracheophyta", "class": "Bryopsida"}, "hint_conflict"),
    ],
)
def test_a_class_that_differs_is_an_opinion_only_where_it_is_known_to_have_moved(found, hints, expected):
    assert status(found.canonical, Answer(found), **hints) == expected


@pytest.mark.parametrize(
    "phylum",
    ["Streptophyta", "Magnoliophyta", "Spermatophyta", "Angiospermae", "Embryophyta", "incertae sedis", "Not assigned",
     "unassigned", "Unplaced", "unranked", "Plantae incertae sedis"],
)  # fmt: skip
def test_a_phylum_of_another_classification_or_a_placeholder_is_no_conflict(phylum):
    assert status("Lilium martagon", Answer(LILY), kingdom="Plantae", phylum=phylum) == "exact_accepted"
    real = not phylum[0].islower() and phylum.endswith(("phyta", "spermae"))
    assert status("Parus major", Answer(TIT), phylum=phylum) == ("hint_conflict" if real else "exact_accepted")


@pytest.mark.parametrize("phylum", ["Craniata", "VERTEBRATA", "Chordata"])
def test_vertebrates_are_chordates(phylum):
    assert status("Parus major", Answer(TIT), phylum=phylum) == "exact_accepted"
    assert status("Lilium martagon", Answer(LILY), phylum=phylum) == "hint_conflict"


def test_a_placeholder_of_the_checklist_is_no_conflict():
    lost = usage("Aus bus", kingdom="Animalia", order="Not assigned", family="incertae sedis")
    assert status("Aus bus", Answer(lost), order="Diptera", family="Muscidae") == "exact_accepted"


@pytest.mark.parametrize(
    "old, family",
    [("Gramineae", "Poaceae"), ("COMPOSITAE", "Asteraceae"), ("Leguminosae", "Fabaceae"), ("Umbelliferae", "Apiaceae"),
     ("Cruciferae", "Brassicaceae"), ("Labiatae", "Lamiaceae"), ("Palmae", "Arecaceae"), ("Guttiferae", "Clusiaceae")],
)  # fmt: skip
def test_either_name_of_a_family_is_the_family(old, family):
    verdict = judge(parse("Aus bus"), {"family": old}, Answer(usage("Aus bus", family=family)))
    assert verdict.status == "exact_accepted" and not verdict.differing
    assert status("Aus bus", Answer(usage("Aus bus", family="Rosaceae")), family=old) == "hint_conflict"


GREAT, GENUS = usage("Parus major"), usage("Parus")


@pytest.mark.parametrize(
    "answer, expected",
    [
        pytest.param(Answer(None, (GREAT,), "NONE", 99), "no_match", id="refused"),
        pytest.param(Answer(GENUS, (GREAT,), "HIGHERRANK", 95), "rolled_up_to_genus", id="refused for the genus"),
        pytest.param(Answer(None, (GREAT,), bests=(GREAT,)), "orthographic_variant", id="taken when asked with less"),
        pytest.param(Answer(GREAT), "orthographic_variant", id="taken"),
    ],
)
def test_a_spelling_counts_only_where_the_source_settled_on_it(answer, expected):
    verdict = judge(parse("Parus minor"), {}, answer)
    assert verdict.status == expected
    if expected != "orthographic_variant":
        assert verdict.usage is not GREAT and "Parus major" in verdict.reason
    misspelt = judge(parse("Aus albus"), {}, replace(answer, best=None, bests=(), others=(usage("Aus alba"),)))
    assert misspelt.status == "no_match" and "Aus alba" in misspelt.reason


def test_a_misspelt_species_of_a_subspecies_counts_only_where_it_was_settled_on():
    assert status("Parus minor imaginarius", Answer(GENUS, (GREAT,))) == "rolled_up_to_genus"
    assert status("Parus minor imaginarius", Answer(GREAT)) == "rolled_up_to_species"
    assert status("Parus major imaginarius", Answer(GENUS, (GREAT,))) == "rolled_up_to_species"


def test_homonyms_of_a_spelling_that_was_settled_on_are_weighed_too():
    answer = Answer(SNAIL, (FIG,))
    assert status("Ficus variegatta", answer) == "ambiguous_homonym"
    assert judge(parse("Ficus variegatta"), {"kingdom": "Plantae"}, answer).usage is FIG


def test_a_refused_spelling_as_near_as_the_one_settled_on_is_a_doubt_and_never_a_choice():
    near = usage("Aus contana", order="Diptera")
    answer = Answer(usage("Aus fontana", order="Lepidoptera"), (near,))
    assert status("Aus montana", answer) == "ambiguous_homonym"
    assert status("Aus montana", answer, order="Lepidoptera") == "orthographic_variant"
    assert status("Aus montana", answer, order="Diptera") == "hint_conflict"
    assert status("Aus fontane", Answer(answer.best, (near,))) == "orthographic_variant"


def test_a_hybrid_of_the_checklist_is_provisional_and_says_so():
    verdict = judge(parse("Platanus hispanica"), {}, Answer(usage("Platanus hispanica", "HYBRID")))
    assert verdict.status == "provisional" and "hybrid" in verdict.reason


def test_a_mistyped_author_is_the_author_and_of_homonyms_the_better_author_wins():
    assert status("Parus major Linneaus, 1758", Answer(TIT)) == "exact_accepted"
    one, two = usage("Aus bus", author="Schmidt, 1900"), usage("Aus bus", author="Schmitt, 1900", kingdom="Plantae")
    for author, expected in (("Schmitt", two), ("Schmidt, 1900", one), ("Schmitt, 1900", two)):
        assert judge(parse(f"Aus bus {author}"), {}, Answer(one, (two,))).usage is expected
    third = Usage("test:3", "Aus bus", "Jones, 1900", "species", "ACCEPTED", one.lineage, "test:3")
    assert judge(parse("Aus bus Jones, 1900"), {}, Answer(one, (third,))).usage is third
    assert status("Aus bus", Answer(one, (third,))) == "ambiguous_homonym"


def test_an_agreement_below_the_difference_vouches_for_nothing():
    placed = _maple(order="Sapindales")
    said = {"order": "Rosales", "family": "Sapindaceae"}
    assert status("Acer campestre", Answer(placed), **said) == "hint_conflict"
    assert status("Acer campestre", Answer(placed), kingdom="plants", **said) == "exact_accepted"
