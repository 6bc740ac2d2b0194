"""The simulated source: same bytes twice, every picture its own, nuisance free of species, planted work counted."""

import dataclasses
import hashlib
import io
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from taxaforge.collection.appearance import TRAITS, describe, hue_at, looks, to_rgb
from taxaforge.collection.draw import SIDE, Pose, specimen
from taxaforge.collection.scene import draw_scene, photograph
from taxaforge.collection.sources.simulated import candidates, planted

CFG = {
    "images_per_species": 12,
    "phylogenetic_signal": 1.0,
    "individual_sd": 0.3,
    "nuisance": 0.5,
    "images_per_observer": 3,
    "duplicate_share": 0.2,
}


def record(genus, epithet, number, family="Nymphalidae"):
    return {
        "kingdom": "Animalia", "phylum": "Arthropoda", "class": "Insecta", "order": "Lepidoptera", "family": family,
        "genus": genus, "species": f"{genus} {epithet}", "taxonID": f"t:{number}", "vernacularName": None,
    }  # fmt: skip


IO, CARDUI, RAPAE = record("Aglais", "io", 1), record("Vanessa", "cardui", 2), record("Pieris", "rapae", 3, "Pieridae")


def made(classes, seed=0, **changes):
    return {c.identifier: c for c in candidates(classes, CFG | changes, seed)}


def decoded(candidate):
    return np.asarray(Image.open(io.BytesIO(candidate.content)).convert("RGB"))


def test_the_same_settings_give_the_same_bytes():
    assert made([IO]) == made([IO])


def test_adding_species_or_individuals_changes_no_other_picture():
    few = made([CARDUI], images_per_species=6, duplicate_share=0)
    many = made([IO, CARDUI, RAPAE], images_per_species=12, duplicate_share=0)
    assert few.items() <= many.items()


def test_what_is_planted_is_what_is_yielded_and_each_kind_looks_as_promised():
    all_of_it = made([IO, RAPAE])
    kinds = Counter(identifier.split(":")[-1][:4] for identifier in all_of_it)
    expected = planted(CFG)
    assert expected == {"drawn": 12, "recompressed": 2, "unusable": 3}
    assert len(all_of_it) == 2 * sum(expected.values())
    assert kinds["copy"] == 2 * expected["recompressed"]
    assert all_of_it["sim:t:1:gone"].errorCode and all_of_it["sim:t:1:gone"].content is None
    with pytest.raises(OSError, match=r"truncated|broken"):
        decoded(all_of_it["sim:t:1:broken"])
    assert decoded(all_of_it["sim:t:1:blank"]).std() == 0


def test_observers_take_several_pictures_and_licences_are_mixed():
    drawn = [c for c in made([IO], images_per_species=30).values() if c.eventDate]
    visits = Counter((c.recordedBy, c.eventDate) for c in drawn)
    assert set(visits.values()) == {3}
    assert {c.license for c in drawn} == {"CC0-1.0", "CC-BY-4.0"}


def test_species_share_neither_observers_nor_circumstances():
    """Otherwise the k-th pictures of two species would have one background, and split and shortcut could meet."""
    both = made([IO, RAPAE], individual_sd=0.0, duplicate_share=0)
    visits = [{(c.recordedBy, c.eventDate) for i, c in both.items() if f":{t}:0" in i} for t in (1, 3)]
    assert visits[0] and not visits[0] & visits[1]
    corners = [decoded(both[f"sim:t:{t}:{k:04d}"])[:4, :4].mean((0, 1)) for k in range(6) for t in (1, 3)]
    assert len({tuple(corner.round(1)) for corner in corners}) == 12


def test_without_individual_variation_and_nuisance_all_pictures_of_a_species_are_one():
    same = made([IO, RAPAE], individual_sd=0.0, nuisance=0.0, duplicate_share=0)
    pictures = {decoded(c).tobytes() for i, c in same.items() if i[-4:].isdigit()}
    assert len(pictures) == 2


def test_circumstances_depend_on_the_picture_only_and_vanish_at_strength_zero():
    assert draw_scene(5, 0.7) == draw_scene(5, 0.7) != draw_scene(6, 0.7)
    assert dataclasses.replace(draw_scene(5, 0.0), seed=0) == dataclasses.replace(draw_scene(6, 0.0), seed=0)


@pytest.mark.parametrize("name", list(TRAITS))
def test_every_link_is_monotone_and_every_trait_can_be_seen(name):
    steps = np.linspace(-2.5, 2.5, 9)
    base = np.zeros(len(TRAITS))
    shown = {"tail": 1.5, "eyespot": 1.5, "bands": 1.0, "spots": 1.0, "body_rings": 1.0, "margin": 0.5, "antenna": 1.0}
    for trait, value in shown.items():
        base[list(TRAITS).index(trait)] = value
    values, pictures = [], []
    for step in steps:
        traits = base.copy()
        traits[list(TRAITS).index(name)] = step
        values.append(looks(traits)[name])
        pictures.append(specimen(looks(traits), Pose())[0])
    assert (np.diff(values) > 0).all()
    assert np.abs(pictures[0] - pictures[-1]).max() > 25


def test_hues_run_round_the_wheel_without_turning_back():
    assert (np.diff([hue_at(place) for place in np.linspace(0, 1, 50)]) > 0).all()


@pytest.mark.parametrize("lab, rgb", [((1, 0, 0), (255, 255, 255)), ((0, 0, 0), (0, 0, 0)), ((0.62796, 0.22486, 0.12585), (255, 0, 0)), ((0.45201, -0.03245, -0.31153), (0, 0, 255))])  # fmt: skip
def test_oklab_of_known_colours(lab, rgb):  # red and blue as tabulated for CSS Color 4
    assert np.abs(np.subtract(to_rgb(lab), rgb)).max() <= 1


def test_an_upright_specimen_is_symmetric_and_covered_pixels_only_have_colour():
    rgb, cover = specimen(looks(np.zeros(len(TRAITS))), Pose())
    assert rgb.shape == (SIDE, SIDE, 3) and cover.shape == (SIDE, SIDE, 1)
    assert np.abs(rgb - rgb[:, ::-1]).mean() < 4
    assert rgb[cover[..., 0] == 0].max() == 0
    assert 0.08 < cover.mean() < 0.7


def test_pictures_survive_extreme_traits_and_full_nuisance():
    rng = np.random.default_rng(0)
    for k in range(60):
        picture = photograph(looks(rng.normal(0, 4, len(TRAITS))), draw_scene(k, 1.0))
        assert picture.dtype == np.uint8 and picture.std() > 4


def test_the_caption_names_what_was_drawn():
    traits = np.zeros(len(TRAITS))
    for name, value in {"bands": 2.5, "tail": 3, "spots": -4, "ground_lightness": 0, "ground_hue": -1.1}.items():
        traits[list(TRAITS).index(name)] = value
    words = describe(looks(traits))
    assert "4 " in words and "bands" in words and "tails" in words and "spot" not in words.replace("eyespot", "")
    assert "red" in words or "brown" in words


def test_bytes_do_not_depend_on_global_random_state():
    np.random.seed(1)
    first = hashlib.sha256(b"".join(c.content or b"" for c in candidates([IO], CFG, 3))).hexdigest()
    np.random.seed(2)
    assert first == hashlib.sha256(b"".join(c.content or b"" for c in candidates([IO], CFG, 3))).hexdigest()
