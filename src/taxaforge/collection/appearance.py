"""From standardised traits to the looks of an insect: one monotone link a trait, and the words for it."""

import math
from dataclasses import dataclass

import numpy as np

Colour = tuple[float, float, float]
"""OKLab: lightness 0..1, green-red, blue-yellow; distances are roughly what an eye sees."""

TRAITS: dict[str, tuple[float, float]] = {
    # name: value at trait -> -inf, +inf. The link is the normal distribution function, so the middle is trait 0.
    "wing_length": (0.55, 1.0),
    "wing_width": (0.18, 0.80),
    "openness": (-74.0, 62.0),  # degrees of the forewing axis above horizontal; low is folded back like elytra
    "wing_apex": (0.4, 2.4),  # where the forewing is widest: low near the body, high near the tip
    "hind_size": (0.45, 1.1),
    "hind_drop": (30.0, 75.0),  # degrees between fore- and hindwing
    "scallop": (0.0, 0.16),
    "tail": (-0.6, 0.5),  # at most 0: none
    "body_length": (0.45, 1.3),
    "body_width": (0.07, 0.28),
    "antenna": (0.2, 0.8),
    "club": (-0.03, 0.07),  # at most 0: thread-like
    "ground_hue": (0.0, 1.0),  # place on WHEEL
    "ground_chroma": (0.02, 0.17),
    "ground_lightness": (0.33, 0.93),
    "accent_hue": (0.0, 1.0),
    "accent_lightness": (0.2, 0.97),
    "hind_hue": (-0.3, 0.3),  # on WHEEL, against the forewing
    "hind_lightness": (-0.3, 0.3),
    "margin": (-0.12, 0.3),  # share of the wing; at most 0: none
    "bands": (-1.2, 4.4),  # rounded; at most 0: none
    "band_width": (0.035, 0.13),
    "band_place": (0.2, 0.6),
    "band_bend": (-0.28, 0.28),
    "spots": (-1.2, 6.4),
    "spot_size": (0.04, 0.12),
    "spot_place": (0.45, 0.85),
    "eyespot": (-0.32, 0.22),
    "base_patch": (-0.5, 0.6),
    "veins": (-0.9, 0.8),
    "clearness": (-1.4, 0.8),  # of the wing membrane; at most 0: opaque
    "body_lightness": (0.15, 0.75),
    "body_rings": (-4.0, 7.0),
}

WHEEL = (
    (0.0, -15.0),
    (0.12, 28.0),
    (0.3, 52.0),
    (0.5, 75.0),
    (0.66, 100.0),
    (0.78, 135.0),
    (0.86, 225.0),
    (0.96, 272.0),
    (1.0, 315.0),
)
"""Hue in degrees at places 0..1: pink, red, a wide stretch of orange and yellow, a little green, blue, violet."""


@dataclass(frozen=True)
class Looks:
    """Drawing parameters of one individual: lengths in half picture widths, angles in degrees."""

    value: dict[str, float]
    ground: Colour
    hind: Colour
    accent: Colour
    margin: Colour
    body: Colour
    rings: Colour

    def __getitem__(self, trait: str) -> float:
        return self.value[trait]

    def count(self, trait: str) -> int:
        """A counted trait, such as bands."""
        return max(0, round(self.value[trait]))


def lch(lightness: float, chroma: float, hue_deg: float) -> Colour:
    """OKLab from lightness, chroma and hue in degrees."""
    hue = math.radians(hue_deg)
    return lightness, chroma * math.cos(hue), chroma * math.sin(hue)


def hue_at(place: float) -> float:
    """Degrees at a place on WHEEL; monotone, and as rich in warm colours as a drawer of insects."""
    return float(np.interp(place, *zip(*WHEEL, strict=True)))


def to_rgb(colour: Colour) -> tuple[int, int, int]:
    """sRGB, 0..255, of an OKLab colour; what the screen cannot show is clipped.

    Source: B. Ottosson 2020, A perceptual color space for image processing.
    """
    lightness, a, b = colour
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )
    return tuple(round(255 * _gamma(min(1.0, max(0.0, part)))) for part in linear)


def _gamma(linear: float) -> float:
    return 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055


def looks(traits: np.ndarray) -> Looks:
    """The monotone links.

    Args:
        traits: (len(TRAITS),), standardised, in the order of TRAITS.
    """
    value = {
        name: low + (high - low) * 0.5 * (1 + math.erf(float(x) / math.sqrt(2)))
        for (name, (low, high)), x in zip(TRAITS.items(), traits, strict=True)
    }
    light, chroma, hue = value["ground_lightness"], value["ground_chroma"], hue_at(value["ground_hue"])
    accent_hue = hue_at(value["accent_hue"])
    accent_light = value["accent_lightness"]
    if abs(accent_light - light) < 0.2:  # a pattern that nobody can see would be no pattern
        accent_light = light + 0.2 if accent_light > light else light - 0.2
    return Looks(
        value=value,
        ground=lch(light, chroma, hue),
        hind=lch(
            min(0.95, max(0.2, light + value["hind_lightness"])),
            chroma,
            hue_at(value["ground_hue"] + value["hind_hue"]),
        ),
        accent=lch(min(0.97, max(0.12, accent_light)), 0.13, accent_hue),
        margin=lch(min(0.28, light - 0.12), 0.4 * chroma, hue),
        body=lch(value["body_lightness"], 0.05, accent_hue),
        rings=lch(value["body_lightness"] + 0.25, 0.12, hue),
    )


HUES = (
    (20, "pink"), (50, "red"), (80, "orange"), (115, "yellow"), (160, "green"),
    (215, "turquoise"), (280, "blue"), (320, "violet"), (361, "pink"),
)  # fmt: skip


def colour_word(colour: Colour) -> str:
    """A plain word for an OKLab colour."""
    lightness, a, b = colour
    if math.hypot(a, b) < 0.035:
        return "black" if lightness < 0.35 else "grey" if lightness < 0.75 else "white"
    hue = math.degrees(math.atan2(b, a)) % 360
    word = next(name for limit, name in HUES if hue < limit)
    if word in ("orange", "yellow", "red") and lightness < 0.55:
        word = "brown"
    return f"dark {word}" if lightness < 0.42 else f"pale {word}" if lightness > 0.8 else word


def describe(drawn: Looks) -> str:
    """What was drawn, in words, without naming the species."""
    shape = "folded" if drawn["openness"] < -35 else "broad" if drawn["wing_width"] > 0.5 else "narrow"
    clear = "clear " if drawn["clearness"] > 0.25 else ""
    parts = []
    if bands := drawn.count("bands"):
        parts.append(f"{bands} {colour_word(drawn.accent)} band{'s' * (bands > 1)}")
    if spots := drawn.count("spots"):
        parts.append(f"{spots} spot{'s' * (spots > 1)}")
    parts += [
        text
        for trait, limit, text in (
            ("margin", 0.03, "a dark margin"),
            ("eyespot", 0.04, "eyespots"),
            ("tail", 0.08, "tails"),
            ("veins", 0.25, "dark veins"),
        )
        if drawn[trait] > limit
    ]
    body = "a slender body" if drawn["body_width"] < 0.13 else "a stout body" if drawn["body_width"] > 0.2 else "a body"
    parts.append(f"{body} with rings" if drawn.count("body_rings") else body)
    hind = f" over {colour_word(drawn.hind)} hindwings" if colour_word(drawn.hind) != colour_word(drawn.ground) else ""
    listed = ", ".join(parts[:-1]) + (" and " if parts[:-1] else "") + parts[-1]
    return f"insect with {shape} {clear}{colour_word(drawn.ground)} wings{hind}, {listed}"
