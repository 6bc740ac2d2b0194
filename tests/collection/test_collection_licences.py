"""A licence text is never read as freer than it is; what says more than was understood is not read at all."""

import itertools
import random

import pytest

from taxaforge.collection.attribution import licence_name
from taxaforge.collection.sources.licences import known, spdx

URL = "https://creativecommons.org/licenses"
VERSIONS = ("1.0", "2.0", "2.1", "2.5", "3.0", "4.0")
SETS = ("", "NC", "ND", "SA", "NC-ND", "NC-SA")


@pytest.mark.parametrize("text", [
    f"{URL}/by/4.0/ (CC BY-NC 4.0)",
    f"{URL}/by/4.0/ {URL}/by/3.0/",
    f"{URL}/by/4.0/nc/",
    f"{URL}/by/4.0-nc",
    f"{URL}/by+nc/4.0/",
    f"{URL}/by-ncnd/4.0/ CC BY 4.0",
    "https://example.org/not-creativecommons.org/licenses/by/4.0/",
    "CC BY 4.0 (nc)",
    "CC BY 4.0 / NC",
    "CC BY 4.0, ND",
    "CC BY 4.0 SA-ND",
    "CC-BY 4.0, no commercial use",
    "CC BY 4.0, commercial use prohibited",
    "CC BY 4.0 commercial use by agreement",
    "CC BY 4.0 (Namensnennung, nicht kommerziell)",
    "CC BY 4.0, keine Bearbeitungen",
    "CC BY 4.0, nur für die Lehre",
    "CC BY 4.0 auf Anfrage",
    "CC BY 4.0, Veröffentlichung verboten",
    "CC BY 4.0, pas d’utilisation commerciale",
    "CC BY 4.0 sauf mention contraire",
    "CC BY 4.0, usage privé uniquement",
    "CC BY 4.0 tous droits réservés",
    "CC BY 4.0, sin fines comerciales",
    "CC BY 4.0 solo con permiso",
    "CC BY 4.0 uso no comercial",
    "CC BY 4.0, todos los derechos reservados",
    "CC BY 4.0, geen commercieel gebruik",
    "CC BY 4.0 unless stated otherwise",
    "CC BY 4.0, research only",
    "CC BY 4.0 (Personal Use)",
    "CC BY 4.0; Usage Conditions Apply",
    "CC BY 4.0, ask first",
    "CC BY 4.0 (expired)",
    "formerly CC BY 4.0",
    "nearly (CC BY 4.0)",
    "CC BY 4.0 N.C.",
    "CC-BY-4.0-NCX",
    "CC BY 4.0 NonComm",
    "CC BY 4.0?",
    "CC BY 4.0*",
    "CC BY 4.0, see https://museum.example/terms",
    "CC BY 4.0 / GFDL",
    "CC BY 4.0, 3.0",
    "CC BY 9.0",
    "CC BY-ND-SA 4.0",
    "CC0 metadata, image (c) Museum",
    "CC0 metadata, image © Museum",
    "CC0 metadata, image Ⓒ Museum",
    "CC0, Copyright Museum",
    "CC BY 4.0, Image (C) Museum",
    "CC BY 4.0 Ⓒ Museum",
    "Attribution, CC0",
    "cc0 by",
    "CC BY 4.0 Commercial",
    "CC BY 4.0 Remixing",
    "whatever was seen before spring (CC BY 4.0)",
    "Metadata: CC0",
    "CC0 with attribution",
    "CC0-BY",
    "CC0 NC",
    "CC0 4.0",
    "not CC0",
    "Not in the Public Domain Mark 1.0",
    "CC0 isn't granted",
    "CC BY 4.0 некоммерческое использование",
    "CC BY 4.0 禁止商用",
    "CC BY-N\u0421 4.0",  # a Cyrillic letter that looks like C
    "CC BY 4.0, käyttö vain tutkimukseen",  # a language that no list of words knows
])  # fmt: skip
def test_a_text_that_also_limits_contradicts_or_cannot_be_read_is_unknown(text):
    assert spdx(text) is None


@pytest.mark.parametrize("text, licence", [
    ("CC-BY-4.0-NC", "CC-BY-NC-4.0"),
    ("CC BY 4.0 NC-ND", "CC-BY-NC-ND-4.0"),
    ("CC BY 4.0 Non-Commercial", "CC-BY-NC-4.0"),
    ("CC BY\u2011NC 4.0", "CC-BY-NC-4.0"),
    ("CC BY\u2013NC\u2013SA 4.0", "CC-BY-NC-SA-4.0"),
    ("CC BY\u200b-NC 4.0", "CC-BY-NC-4.0"),
    ("\uff23\uff23 BY-NC 4.0", "CC-BY-NC-4.0"),
    ("Creative Commons Namensnennung - Nicht kommerziell 4.0", "CC-BY-NC-4.0"),
    ("Creative Commons Reconocimiento-NoComercial-SinDerivadas 3.0", "CC-BY-NC-ND-3.0"),
])  # fmt: skip
def test_a_condition_is_read_wherever_the_one_licence_has_it(text, licence):
    assert spdx(text) == licence


@pytest.mark.parametrize("text, licence", [
    ("Jane Doe, CC BY 4.0", "CC-BY-4.0"),
    ("CC BY 4.0 Jane Doe", "CC-BY-4.0"),
    ("CC-BY-4.0 by Ludwig van der Berg", "CC-BY-4.0"),
    ("S. A. Miller (CC BY 4.0)", "CC-BY-4.0"),
    ("N.D. Burgess / CC BY 4.0", "CC-BY-4.0"),
    ("María de Sá y Núñez (cc-by)", "LicenseRef-CC-BY"),
    ("ella pants (cc-by-sa)", "LicenseRef-CC-BY-SA"),
    ("Payne & Askew, CC BY 4.0", "CC-BY-4.0"),
    ("cc-by-nc-sa-3.0-nl", "CC-BY-NC-SA-3.0"),
    ("henryb68 (CC0)", "CC0-1.0"),
    ("Photo by Jane Doe, CC0", "CC0-1.0"),
    ("CC BY-SA 3.0, via Wikimedia Commons", "CC-BY-SA-3.0"),
    ("CC BY 3.0 US", "CC-BY-3.0"),
    ("CC-BY-NC-3.0-IGO", "CC-BY-NC-3.0"),
    (f"{URL}/by/3.0/no/", "CC-BY-3.0"),
    (f"{URL}/by/4.0/deed.no", "CC-BY-4.0"),
    (f"{URL}/by/2.5/scotland/legalcode.en", "CC-BY-2.5"),
    (f"{URL}/by/4.0/?ref=chooser-v1", "CC-BY-4.0"),
    (f"{URL}/by/4.0/deed.pt-br?lang=no", "CC-BY-4.0"),
    (f"{URL}/by/4.0/ (CC BY 4.0)", "CC-BY-4.0"),
    (f"{URL}/by/4.0/ CC BY", "CC-BY-4.0"),
    (f'<a rel="license" href="{URL}/by-nc/4.0/">CC BY-NC 4.0</a>', "CC-BY-NC-4.0"),
    ("Attribution 4.0 International (CC BY 4.0)", "CC-BY-4.0"),
    ("Attribution-NonCommercial-ShareAlike 4.0 International (CC BY-NC-SA 4.0)", "CC-BY-NC-SA-4.0"),
    ("CC BY 4.0 Namensnennung", "CC-BY-4.0"),
    ("CC0 1.0 Universal (CC0 1.0) Public Domain Dedication", "CC0-1.0"),
    ("This work is licensed under a Creative Commons Attribution 4.0 International License.", "CC-BY-4.0"),
    ("This work is licensed under CC BY 4.0. To view a copy of this license, visit " + f"{URL}/by/4.0/", "CC-BY-4.0"),
    ("License: CC BY 4.0", "CC-BY-4.0"),
    ("Some rights reserved (CC BY-NC 4.0)", "CC-BY-NC-4.0"),
    ("CC BY-NC 4.0, commercial use on request", None),
    ("CC BY-NC-ND 4.0 (non-commercial, no derivatives)", "CC-BY-NC-ND-4.0"),
])  # fmt: skip
def test_names_places_and_phrases_beside_a_licence_do_no_harm(text, licence):
    assert spdx(text) == licence


def conditions(licence: str) -> set[str]:
    return {"NC", "ND", "SA"} & set(licence.split("-"))


def freer(licence: str | None, asked: set[str], base: str) -> bool:
    """Whether an id lets a picture be used for more than a text of this base and these conditions does."""
    return licence is not None and (not asked <= conditions(licence) or (base == "BY" and "-BY" not in licence))


SEPARATORS = (
    "-",
    " ",
    "_",
    "",
    "/",
    ", ",
    " + ",
    " & ",
    "\u2013",
    "\u00a0",
    " - ",
    "; ",
    " (",
    ":",
    ".",
    "|",
    "\u00b7",
    "\n",
)
WORDS = {
    "NC": ("NC", "NonCommercial", "non commercial", "nicht-kommerziell", "pas d'utilisation commerciale", "no comercial"),
    "ND": ("ND", "NoDerivs", "no derivatives", "keine Bearbeitung", "pas de modification", "sin obra derivada"),
    "SA": ("SA", "ShareAlike", "share alike", "partage dans les mêmes conditions", "CompartirIgual"),
}  # fmt: skip


def texts():
    """Licences whose conditions stand in every order, before and after the version, in codes and words."""
    chance = random.Random(7)
    for count in range(4):
        for named in itertools.permutations(WORDS, count):
            for base, separator in itertools.product(("CC BY", "CC-BY", "CCBY", "CC0", f"{URL}/by"), SEPARATORS):
                for _ in range(4):
                    parts = [chance.choice(WORDS[code]) if chance.random() < 0.5 else code for code in named]
                    parts.insert(chance.randint(0, len(parts)), chance.choice(["4.0", "v3.0", "4_0", ""]))
                    cut = chance.randint(0, len(parts)) if chance.random() < 0.3 else 0
                    text = separator.join([*parts[:cut], base, *parts[cut:]])
                    case = chance.choice([str, str.lower, str.upper, str.title])
                    yield case(text), set(named), base


def test_no_order_separator_case_or_place_of_the_version_makes_a_licence_freer():
    wrong = [(text, found) for text, asked, base in texts() if freer(found := spdx(text), asked, base[-2:].upper())]
    assert wrong == []


def test_the_texts_of_the_fuzz_are_not_all_unknown():
    found = [(spdx(text), asked) for text, asked, _ in texts()]
    assert sum(licence is not None for licence, _ in found) > len(found) / 8
    assert {frozenset(asked) for licence, asked in found if licence and asked} == {
        frozenset(some.split("-")) for some in SETS if some
    }


@pytest.mark.parametrize("separator", SEPARATORS)
def test_a_second_licence_beside_the_first_is_never_dropped(separator):
    for one, other in itertools.permutations(["CC BY 4.0", "CC BY-NC 4.0", "CC0 1.0", f"{URL}/by-nd/4.0/", "GFDL"], 2):
        assert spdx(f"{one} {separator} {other}") is None


ALL = {"CC0-1.0", "CC-PDM-1.0"} | {
    name
    for some in SETS
    for base in ["-".join(filter(None, ["CC-BY", some]))]
    for name in (f"LicenseRef-{base}", *(f"{base}-{version}" for version in VERSIONS))
}


def test_known_ids_are_those_that_a_text_can_give():
    assert all(known(name) and spdx(name) == name for name in ALL)


def test_a_licence_is_read_back_from_the_way_in_which_views_and_cards_write_it():
    assert {name: spdx(licence_name(name)) for name in ALL} == {name: name for name in ALL}


@pytest.mark.parametrize("name", [
    "", "CC-BY", "cc-by-4.0", "CC BY 4.0", "CC-BY-5.0", "CC-BY-SA-NC-4.0", "CC-BY-ND-SA-4.0", "LicenseRef-CC-BY-4.0", "CC0", "CC0-2.0",
    "MIT", "All rights reserved", "CC-BY-4.0 ", "LicenseRef-CC0",
])  # fmt: skip
def test_what_no_text_gives_is_no_known_id(name):
    assert not known(name)
