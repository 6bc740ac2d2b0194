"""Draws one insect from above: wings, pattern, body, antennae and legs as vector shapes, four times supersampled."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from taxaforge.collection.appearance import Looks, to_rgb

SIDE = 64
"""Side of a finished picture in px."""
OVER = 4
"""Supersampling: shapes are drawn at OVER * SIDE px and averaged down."""

_T = np.linspace(0.0, 1.0, 26)


@dataclass(frozen=True)
class Pose:
    """How the specimen lies before the lens.

    turn: degrees, clockwise. scale: 1 fills the frame. shift: (x, y) in half picture widths. tilt:
    shortening of the width, 1 is none. spread: degrees by which the right and the left wing pair are
    raised. notches: (n, 3) wear as (side -1 or 1, place along the trailing edge 0..1, radius).
    """

    turn: float = 0.0
    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    tilt: float = 1.0
    spread: tuple[float, float] = (0.0, 0.0)
    notches: tuple[tuple[int, float, float], ...] = ()


@dataclass(frozen=True)
class Wing:
    """One wing in its own frame: x from root to tip, y towards the trailing edge; `place` puts it on the body."""

    outline: np.ndarray
    length: float
    root: np.ndarray
    angle: float
    side: int

    def place(self, points: np.ndarray) -> np.ndarray:
        """(n, 2) wing frame -> body frame (x right, y towards the abdomen)."""
        c, s = math.cos(self.angle), math.sin(self.angle)
        x, y = points[:, 0], points[:, 1]
        return np.stack([self.side * (self.root[0] + c * x + s * y), self.root[1] - s * x + c * y], axis=1)


def _profile(rise: float, fall: float) -> np.ndarray:
    """A bump over root to tip, maximum 1 at rise / (rise + fall)."""
    peak = rise / (rise + fall)
    return (_T / peak) ** rise * ((1 - _T) / (1 - peak)) ** fall


def _wings(looks: Looks, pose: Pose, fore: bool) -> list[Wing]:
    length = looks["wing_length"] * (1.0 if fore else looks["hind_size"])
    width = looks["wing_width"] * length
    rise = looks["wing_apex"]
    if fore:
        lead, trail = 0.16 * width * _profile(0.5, 0.5), width * _profile(rise, 0.45)
    else:
        width *= 1.12
        lead, trail = 0.3 * width * _profile(0.4, 0.5), width * _profile(0.35 + 0.35 * rise, 0.42)
    wave = looks["scallop"] * width * np.sin(np.pi * _T) * np.cos(2 * np.pi * 4.5 * _T)
    y = np.concatenate([-lead, (trail + wave)[::-1]])
    x = length * np.concatenate([_T, _T[::-1]])
    if not fore and looks["tail"] > 0:
        bump = np.exp(-(((_T[::-1] - 0.68) / 0.06) ** 2)) * looks["tail"] * 0.75
        y[len(_T) :] += bump
        x[len(_T) :] += 0.35 * bump
    wings = []
    for side, raised in zip((1, -1), pose.spread, strict=True):
        angle = looks["openness"] + raised
        angle = max(-80.0, angle if fore else angle - looks["hind_drop"])
        root = np.array([0.3 * looks["body_width"], -0.1 if fore else 0.03])
        wings.append(Wing(np.stack([x, y], axis=1), length, root, math.radians(angle), side))
    return wings


class _Canvas:
    """RGB and coverage at OVER * SIDE px, in body coordinates."""

    def __init__(self, pose: Pose, middle: float, reach: float):
        self.size = SIDE * OVER
        unit = 0.5 * self.size * 0.93 * pose.scale / reach
        turn = math.radians(pose.turn)
        c, s = math.cos(turn), math.sin(turn)
        self.matrix = unit * np.array([[c * pose.tilt, -s], [s * pose.tilt, c]])
        self.origin = 0.5 * self.size * (1 + np.array(pose.shift)) - self.matrix @ (0.0, middle)
        self.unit = unit
        self.rgb = Image.new("RGB", (self.size, self.size))
        self.cover = Image.new("L", (self.size, self.size))

    def at(self, points: np.ndarray) -> list[float]:
        return (points @ self.matrix.T + self.origin).ravel().tolist()

    def width(self, length: float) -> int:
        return max(1, round(length * self.unit))

    def polygon(self, points: np.ndarray, colour: tuple[int, int, int]) -> None:
        flat = self.at(points)
        ImageDraw.Draw(self.rgb).polygon(flat, fill=colour)
        ImageDraw.Draw(self.cover).polygon(flat, fill=255)

    def line(self, points: np.ndarray, colour: tuple[int, int, int], width: float) -> None:
        flat, px = self.at(points), self.width(width)
        ImageDraw.Draw(self.rgb).line(flat, fill=colour, width=px, joint="curve")
        ImageDraw.Draw(self.cover).line(flat, fill=255, width=px, joint="curve")


_CIRCLE = np.stack([np.cos(np.linspace(0, 2 * np.pi, 21)[:-1]), np.sin(np.linspace(0, 2 * np.pi, 21)[:-1])], axis=1)


def _disc(x: float, y: float, rx: float, ry: float | None = None) -> np.ndarray:
    return _CIRCLE * (rx, rx if ry is None else ry) + (x, y)


def _shade(rgb: tuple[int, int, int], factor: float) -> tuple[int, int, int]:
    return tuple(min(255, round(part * factor)) for part in rgb)


def _pattern(canvas: _Canvas, draw: ImageDraw.ImageDraw, wing: Wing, looks: Looks, fore: bool) -> None:
    """Everything on the membrane; what sticks out of the wing is cut off by its mask."""
    ground = to_rgb(looks.ground if fore else looks.hind)
    accent, dark = to_rgb(looks.accent), to_rgb(looks.margin)
    length, outline = wing.length, wing.outline
    middle = np.array([0.42 * length, outline[:, 1].mean()])
    breadth = outline[:, 1].max() - outline[:, 1].min()

    def fill(points: np.ndarray, colour: tuple[int, int, int]) -> None:
        draw.polygon(canvas.at(wing.place(points)), fill=colour)

    margin = max(0.0, looks["margin"])
    if margin > 0.02:
        fill(outline * 1.04, dark)
        fill((outline - middle) * (1 - margin) + middle - (0.7 * margin * length, 0), ground)
    else:
        fill(outline * 1.04, ground)
    if looks["base_patch"] > 0.05:
        fill(outline * (0.25 + looks["base_patch"]), accent if not fore else _shade(ground, 0.72))
    across = np.linspace(-0.4, 1.3, 7) * breadth
    for k in range(looks.count("bands")):
        place = (looks["band_place"] + 0.2 * k) * length
        bend = looks["band_bend"] * length * ((across / breadth - 0.4) ** 2)
        half = looks["band_width"] * length * 0.5 * (1.15 - 0.15 * k)
        left = np.stack([place - half + bend, across], axis=1)
        right = np.stack([place + half + bend, across], axis=1)
        fill(np.concatenate([left, right[::-1]]), accent)
    spots = looks.count("spots")
    for k in range(spots):
        along = looks["spot_place"] + 0.05 * math.sin(2.1 * k)
        edge = np.interp(along, _T, outline[len(_T) :][::-1, 1])
        y = edge * ((k + 0.6) / (spots + 0.6)) if spots > 1 else 0.45 * edge
        fill(_disc(along * length, y, looks["spot_size"] * length * (0.9 if fore else 0.75)), dark if k % 2 else accent)
    if looks["veins"] > 0.05:
        vein = _mix(ground, dark, min(1.0, looks["veins"] + 0.1))
        for share in (0.08, 0.28, 0.5, 0.72, 0.94):
            point = outline[len(_T) + int((1 - share) * (len(_T) - 1))]
            flat = canvas.at(wing.place(np.array([[0.0, 0.0], 0.5 * point * (1, 0.8), point])))
            draw.line(flat, fill=vein, width=canvas.width(0.014))
    if looks["eyespot"] > 0.03:
        along = 0.66 if fore else 0.6
        y = 0.5 * np.interp(along, _T, outline[len(_T) :][::-1, 1])
        radius = looks["eyespot"] * length * (0.7 if fore else 1.0)
        for factor, colour in ((1.0, accent), (0.68, dark), (0.28, (245, 245, 240))):
            fill(_disc(along * length, y, radius * factor), colour)


def _mix(a: tuple[int, int, int], b: tuple[int, int, int], share: float) -> tuple[int, int, int]:
    return tuple(round((1 - share) * x + share * y) for x, y in zip(a, b, strict=True))


def _draw_wings(canvas: _Canvas, looks: Looks, pose: Pose, fore: bool) -> None:
    wings = _wings(looks, pose, fore)
    layer = Image.new("RGB", canvas.rgb.size)
    draw = ImageDraw.Draw(layer)
    mask = Image.new("L", canvas.rgb.size)
    cut = ImageDraw.Draw(mask)
    opaque = 255 - round(255 * max(0.0, looks["clearness"]))
    rim = canvas.width(0.016)
    dark = _shade(to_rgb(looks.ground if fore else looks.hind), 0.55)
    for wing in wings:
        _pattern(canvas, draw, wing, looks, fore)
        flat = canvas.at(wing.place(wing.outline))
        cut.polygon(flat, fill=opaque)
        draw.line([*flat, *flat[:2]], fill=dark, width=rim)
        cut.line([*flat, *flat[:2]], fill=max(opaque, 150), width=rim)
    for side, place, radius in pose.notches:
        wing = wings[0 if side > 0 else 1]
        centre = wing.outline[len(_T) + int((1 - place) * (len(_T) - 1))]
        cut.polygon(canvas.at(wing.place(_disc(*centre, radius, 0.8 * radius))), fill=0)
    canvas.rgb.paste(layer, mask=mask)
    canvas.cover.paste(255, mask=mask)


def _draw_body(canvas: _Canvas, looks: Looks) -> None:
    body, rings = to_rgb(looks.body), to_rgb(looks.rings)
    half, length = 0.5 * looks["body_width"], looks["body_length"]
    t = np.linspace(0, 1, 15)
    taper = half * 0.86 * np.sqrt(np.clip(1 - ((t - 0.32) / 0.68) ** 2, 0, 1)) ** 0.8
    y = 0.06 + 0.72 * length * t
    abdomen = np.concatenate([np.stack([taper, y], axis=1), np.stack([-taper, y], axis=1)[::-1]])
    canvas.polygon(abdomen, body)
    count = looks.count("body_rings")
    for k in range(count):
        i = (k + 0.7) / (count + 0.4)
        w = 0.9 * float(np.interp(i, t, taper))
        canvas.line(
            np.array([[-w, 0.06 + 0.72 * length * i], [w, 0.06 + 0.72 * length * i]]), rings, 0.3 * length / (count + 2)
        )
    canvas.polygon(_disc(0, -0.06, half, max(0.13, 0.9 * half)), _shade(body, 1.25))
    canvas.polygon(_disc(-0.25 * half, -0.08, 0.4 * half, 0.07), _shade(body, 1.5))
    head = 0.62 * half + 0.015
    centre = -0.06 - max(0.13, 0.9 * half) - 0.6 * head
    canvas.polygon(_disc(0, centre, head), _shade(body, 0.8))
    for side in (-1, 1):
        canvas.polygon(_disc(side * 0.8 * head, centre - 0.2 * head, 0.42 * head), _mix(rings, (20, 15, 15), 0.55))


def _draw_limbs(canvas: _Canvas, looks: Looks) -> None:
    dark = _shade(to_rgb(looks.body), 0.6)
    half = 0.5 * looks["body_width"]
    head = -0.06 - max(0.13, 0.9 * half) - 0.5 * half
    reach = looks["antenna"]
    t = np.linspace(0, 1, 8)
    for side in (-1, 1):
        curve = np.stack([side * (0.4 * half + 0.55 * reach * t**1.4), head - 0.62 * reach * t**0.8], axis=1)
        canvas.line(curve, dark, 0.022)
        if looks["club"] > 0.005:
            canvas.polygon(_disc(*curve[-1], 0.02 + looks["club"]), dark)
        for start, knee, foot in (
            (-0.14, (0.2, -0.2), (0.3, -0.36)),
            (-0.04, (0.28, 0.0), (0.42, 0.1)),
            (0.06, (0.24, 0.2), (0.36, 0.46)),
        ):
            leg = np.array([[0.6 * half, start], [half + knee[0], start + knee[1]], [half + foot[0], start + foot[1]]])
            canvas.line(leg * (side, 1), dark, 0.024)


def _frame(looks: Looks, pose: Pose) -> tuple[float, float]:
    """Middle (y) and half size of the box around wings, body and most of the antennae, in body coordinates."""
    wings = [wing.place(wing.outline) for fore in (True, False) for wing in _wings(looks, pose, fore)]
    top = min(-0.3 - 0.5 * looks["antenna"], *(float(points[:, 1].min()) for points in wings))
    bottom = max(0.06 + 0.72 * looks["body_length"], *(float(points[:, 1].max()) for points in wings))
    wide = max(float(np.abs(points[:, 0]).max()) for points in wings)
    return (top + bottom) / 2, max((bottom - top) / 2, wide, 0.45)


def specimen(looks: Looks, pose: Pose) -> tuple[np.ndarray, np.ndarray]:
    """One insect without surroundings.

    Returns:
        (SIDE, SIDE, 3) float32 colours times coverage, 0..255, and (SIDE, SIDE, 1) float32 coverage 0..1.
    """
    canvas = _Canvas(pose, *_frame(looks, pose))
    _draw_limbs(canvas, looks)
    _draw_wings(canvas, looks, pose, fore=False)
    _draw_wings(canvas, looks, pose, fore=True)
    _draw_body(canvas, looks)
    rgb = np.asarray(canvas.rgb.reduce(OVER), dtype=np.float32)
    cover = np.asarray(canvas.cover.reduce(OVER), dtype=np.float32)[..., None] / 255
    return rgb, cover
