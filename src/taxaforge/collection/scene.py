"""What has nothing to do with the species: pose, background, light, blur and wear of one picture."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from taxaforge.collection.appearance import Looks, lch, to_rgb
from taxaforge.collection.draw import SIDE, Pose, specimen

GROUNDS = (  # lightness, chroma, hue in degrees, share of structure
    (0.93, 0.015, 90, 0.25),  # paper
    (0.80, 0.035, 75, 0.7),  # sand
    (0.62, 0.010, 250, 0.8),  # stone
    (0.55, 0.090, 135, 1.0),  # leaves
    (0.42, 0.050, 60, 1.0),  # bark
    (0.72, 0.060, 145, 0.8),  # meadow
)


@dataclass(frozen=True)
class Scene:
    """pose and the random numbers of everything around the specimen, all drawn at once."""

    pose: Pose
    ground: tuple[float, float, float, float]
    strength: float
    seed: int


def _noise(rng: np.random.Generator, cells: int) -> np.ndarray:
    """(SIDE, SIDE) smooth noise of unit variance at its nodes."""
    coarse = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def draw_scene(seed: int, strength: float) -> Scene:
    """Random circumstances of one picture; at strength 0 all pictures are taken alike.

    Args:
        seed: of the picture; nothing of the species goes in.
        strength: 0..1, of all nuisance together.
    """
    rng = np.random.default_rng(seed)
    turn, scale, x, y, tilt, right, left = rng.uniform(-1, 1, 7)
    notches = tuple(
        (int(rng.choice([-1, 1])), float(rng.uniform(0.15, 0.95)), float(rng.uniform(0.05, 0.16)))
        for _ in range(rng.poisson(1.6 * strength))
    )
    pose = Pose(
        turn=70 * strength * turn,
        scale=1 - 0.2 * strength * (1 + scale),
        shift=(0.28 * strength * x, 0.28 * strength * y),
        tilt=1 - 0.2 * strength * (1 + tilt),
        spread=(24 * strength * right, 24 * strength * left),
        notches=notches,
    )
    ground = GROUNDS[int(rng.integers(len(GROUNDS)))] if strength > 0 else GROUNDS[0]
    return Scene(pose, ground, strength, int(rng.integers(2**62)))


def _background(rng: np.random.Generator, scene: Scene) -> np.ndarray:
    lightness, chroma, hue, structure = scene.ground
    lightness += 0.08 * scene.strength * rng.uniform(-1, 1)
    hue += 25 * scene.strength * rng.uniform(-1, 1)
    base = to_rgb(lch(lightness, chroma, hue))
    image = Image.new("RGB", (SIDE * 2, SIDE * 2), base)
    draw = ImageDraw.Draw(image)
    for _ in range(rng.poisson(7 * structure * scene.strength)):  # blades and twigs
        x, y, dx, dy = rng.uniform((0, 0, -1, -1), (1, 1, 1, 1)) * 2 * SIDE
        colour = to_rgb(lch(lightness + 0.14 * rng.uniform(-1, 1), chroma * 1.2, hue + 30 * rng.uniform(-1, 1)))
        draw.line((x - dx, y - dy, x + dx, y + dy), fill=colour, width=int(rng.integers(2, 12)))
    ground = np.asarray(image.reduce(2), dtype=np.float32)
    waves = 14 * structure * _noise(rng, 5) + 7 * structure * _noise(rng, 17)
    return ground + scene.strength * waves[..., None]


def photograph(looks: Looks, scene: Scene) -> np.ndarray:
    """The finished picture.

    Returns:
        (SIDE, SIDE, 3) uint8 RGB.
    """
    rng = np.random.default_rng(scene.seed)
    strength = scene.strength
    rgb, cover = specimen(looks, scene.pose)
    background = _background(rng, scene)
    angle, gradient, gain, warmth = rng.uniform(-1, 1, 4)
    shadow = Image.fromarray((cover[..., 0] * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(1.6))
    moved = (1, 0, -1.4 - 1.2 * strength * angle, 0, 1, -2)
    shadow = shadow.transform(shadow.size, Image.Transform.AFFINE, moved, Image.Resampling.BILINEAR)
    dark = np.asarray(shadow, dtype=np.float32)[..., None] / 255
    picture = background * (1 - 0.42 * dark) * (1 - cover) + rgb
    ramp = np.linspace(-1, 1, SIDE, dtype=np.float32)
    light = 1 + 0.3 * strength * gradient * (ramp[:, None] * np.cos(3 * angle) + ramp[None] * np.sin(3 * angle))
    light = light * (1 + 0.3 * strength * gain)
    tint = 1 + 0.16 * strength * warmth * np.array([1, 0, -1], dtype=np.float32)
    picture = picture * light[..., None] * tint + 5 * strength * rng.standard_normal((SIDE, SIDE, 1))
    image = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
    blur = strength * rng.uniform(0, 1.5)
    return np.asarray(image.filter(ImageFilter.GaussianBlur(blur)) if blur > 0.3 else image)
