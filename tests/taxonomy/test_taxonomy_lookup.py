"""Names held in memory: what is offered as similar, against comparing everything with everything."""

import random
import string

from taxaforge.taxonomy.answers import Usage
from taxaforge.taxonomy.names import edits, fold, parse
from taxaforge.taxonomy.sources.lookup import FAR, LIKE, Alike, Lookup, could_be_alike, letters_of


def levenshtein(a, b):
    """The textbook recursion, on prefixes."""
    table = {(i, 0): i for i in range(len(a) + 1)} | {(0, j): j for j in range(len(b) + 1)}
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            table[i, j] = min(table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (a[i - 1] != b[j - 1]))
    return table[len(a), len(b)]


def changed(word, times, draw):
    """A word with letters put in, left out or replaced."""
    for _ in range(times if word else 0):
        at = draw.randrange(len(word))
        word = (
            word[:at]
            + draw.choice(["" if len(word) > 1 else "a", draw.choice("abe"), word[at] + draw.choice("abe")])
            + word[at + 1 :]
        )
    return word


def test_edits_is_the_levenshtein_distance():
    draw = random.Random(0)
    for _ in range(300):
        a = "".join(draw.choices("abc", k=draw.randrange(8)))
        b = changed(a, 2, draw) if a and draw.random() < 0.5 else "".join(draw.choices("abc", k=draw.randrange(8)))
        assert edits(a, b) == levenshtein(a, b), (a, b)


def test_comparing_sets_of_letters_first_loses_no_near_name():
    draw = random.Random(1)
    for _ in range(2_000):
        word = "".join(draw.choices(string.ascii_lowercase, k=9))
        other = changed(word, draw.randrange(1, 3), draw)
        if edits(word, other) <= FAR:
            assert could_be_alike(len(word), letters_of(word), len(other), letters_of(other))


def test_similar_names_are_those_that_comparing_everything_finds():
    draw = random.Random(2)
    genera, epithets = (
        ["Aglais", "Aglaia", "Vanessa", "Vanesso"],
        ["io", "ionis", "urticae", "urticus", "atalanta", "atalanto"],
    )
    names = sorted(
        {f"{draw.choice(genera)} {changed(draw.choice(epithets), draw.randrange(3), draw)}" for _ in range(200)}
    )
    index = Alike(names)
    for name in names[::7]:
        asked = changed(name[7:], 1, draw) or "x"
        asked = f"{name[:7].strip()} {asked}"
        near = sorted(
            (levenshtein(fold(asked), fold(other)), other)
            for other in names
            if other != asked and set(fold(asked).split()) & set(fold(other).split())  # a word in common
        )
        assert index(asked) == tuple(other for off, other in near if off <= FAR)[:LIKE]


def test_a_name_that_is_there_has_no_similar_ones_and_the_smallest_key_is_best():
    usages = [Usage(f"t:{n}", "Aus bus", "", "species", "ACCEPTED", {"species": "Aus bus"}, "t:1") for n in (2, 1)]
    answer = Lookup(usages)(parse("Aus bus"))
    assert (answer.best.key, [usage.key for usage in answer.others], answer.similar) == ("t:1", ["t:2"], ())
