"""Relatedness along the ranks."""

import itertools

import pytest

from taxaforge.taxonomy.schema import RANKS
from taxaforge.taxonomy.tree import common_ancestor, distance, nested, newick


def taxon(*names):
    return dict(zip(RANKS, names, strict=True))


IO = taxon("Animalia", "Arthropoda", "Insecta", "Lepidoptera", "Nymphalidae", "Aglais", "Aglais io")
URTICAE = IO | {"species": "Aglais urticae"}
CARDUI = IO | {"genus": "Vanessa", "species": "Vanessa cardui"}
RAPAE = IO | {"family": "Pieridae", "genus": "Pieris", "species": "Pieris rapae"}
VIRGO = taxon("Animalia", "Arthropoda", "Insecta", "Odonata", "Calopterygidae", "Calopteryx", "Calopteryx virgo")
PICA = taxon("Animalia", "Chordata", "Aves", "Passeriformes", "Corvidae", "Pica", "Pica pica")
SHRUB = taxon("Plantae", "Tracheophyta", "Magnoliopsida", "Ericales", "Ericaceae", "Pieris", "Pieris japonica")
ALL = [IO, URTICAE, CARDUI, RAPAE, VIRGO, PICA, SHRUB]


@pytest.mark.parametrize(
    "a, b, ancestor, ranks",
    [
        (IO, IO, ("species", "Aglais io"), 0),
        (IO, URTICAE, ("genus", "Aglais"), 1),
        (IO, CARDUI, ("family", "Nymphalidae"), 2),
        (IO, RAPAE, ("order", "Lepidoptera"), 3),
        (IO, VIRGO, ("class", "Insecta"), 4),
        (IO, PICA, ("kingdom", "Animalia"), 6),
        pytest.param(RAPAE, SHRUB, ("root", ""), 7, id="a genus of the same name in another kingdom is no relative"),
        pytest.param(IO, CARDUI | {"order": None}, ("family", "Nymphalidae"), 2, id="an unknown rank is skipped"),
        pytest.param(
            IO | {"family": ""}, RAPAE | {"family": None}, ("order", "Lepidoptera"), 3, id="two unknowns are not equal"
        ),
    ],
)
def test_lowest_common_ancestor_and_distance(a, b, ancestor, ranks):
    assert common_ancestor(a, b) == common_ancestor(b, a) == ancestor
    assert distance(a, b) == distance(b, a) == ranks


def test_distance_is_an_ultrametric():
    for a, b, c in itertools.product(ALL, repeat=3):
        assert distance(a, c) <= max(distance(a, b), distance(b, c))


def leaves(node):
    return [node.name] if not node.children else [name for child in node.children for name in leaves(child)]


def test_the_tree_does_not_depend_on_the_order_of_species():
    trees = {nested(order) for order in itertools.permutations(ALL[:4])}
    assert len(trees) == 1
    assert leaves(trees.pop()) == ["Aglais io", "Aglais urticae", "Vanessa cardui", "Pieris rapae"]


def test_a_missing_rank_hangs_its_species_one_higher():
    order = nested([IO, RAPAE | {"family": None}]).children[0].children[0].children[0].children[0]
    assert [(child.rank, child.name) for child in order.children] == [("family", "Nymphalidae"), ("genus", "Pieris")]


def depths(text):
    """Root-to-tip lengths of a Newick string: an independent little reader."""
    out, tree = {}, text.rstrip(";")

    def parse(i):
        children = []
        if tree[i] == "(":
            i += 1
            while True:
                child, i = parse(i)
                children.append(child)
                if tree[i] == ")":
                    i += 1
                    break
                i += 1
        name = ""
        if i < len(tree) and tree[i] == "'":
            i += 1
            while not (tree[i] == "'" and tree[i : i + 2] != "''"):
                name, i = (name + "'", i + 2) if tree[i : i + 2] == "''" else (name + tree[i], i + 1)
            i += 1
        length = ""
        if i < len(tree) and tree[i] == ":":
            i += 1
            while i < len(tree) and tree[i] not in ",)":
                length, i = length + tree[i], i + 1
        return (name, float(length or 0), children), i

    def walk(node, above):
        name, length, children = node
        if not children:
            out[name] = above + length
        for child in children:
            walk(child, above + length)

    walk(parse(0)[0], 0.0)
    return out


def test_newick_tips_end_level_even_with_missing_ranks():
    tips = depths(newick(nested([*ALL, PICA | {"order": None, "family": None, "species": "Pica 'odd'"}])))
    assert set(tips) == {record["species"] for record in ALL} | {"Pica 'odd'"}
    assert len(set(tips.values())) == 1
