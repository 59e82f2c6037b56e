"""A bank of pictures: what prints, labels, worn surfaces and reflecting ones show. Drawn once, then looked up."""

from __future__ import annotations

import colorsys
import math
import string
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

Picture = NDArray[np.uint8]
_SIDE = 64  # of a picture, pixels
_PICTURES, _WORN, _ENVIRONMENTS = 512, 64, 64
_ENVIRONMENT_SIDE = 32
_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_PLAIN, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_COMPLEX_SMALL, cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
    cv2.FONT_HERSHEY_SCRIPT_COMPLEX,
)  # fmt: skip
_LETTERS = string.ascii_letters + string.digits + "&%!?+-"


@dataclass(frozen=True)
class Pictures:
    """Small pictures, rows of pixels one after another, so that a point of a surface is one row of a table.

    Attributes:
        prints: (N, T, T, 3) uint8 RGB. worn: (W, T, T) uint8, reflectance of a worn surface, 128: as new.
        environments: (E, 32, 32, 3) uint8 RGB, blurred, as a mirroring ball shows them.
    """

    prints: Tensor
    worn: Tensor
    environments: Tensor

    def to(self, device: torch.device) -> Pictures:
        """The same on a device."""
        return Pictures(self.prints.to(device), self.worn.to(device), self.environments.to(device))


def draw_pictures(crops: Tensor, generator: torch.Generator) -> Pictures:
    """A bank whose photographs are among `crops`, (N, 3, S, S) uint8; all the rest is drawn by the generator alone."""
    rng = np.random.default_rng(int(torch.randint(1 << 31, (1,), generator=generator)))
    some = crops[torch.from_numpy(rng.permutation(len(crops))[: _PICTURES // 3])]
    photographs = F.interpolate(some.float().cpu(), (_SIDE, _SIDE), mode="bilinear", antialias=True)
    photos = photographs.round().byte().permute(0, 2, 3, 1).numpy()
    kinds = (_photograph, _text, _noise, _pattern, _toy_face, _label)
    shares = np.cumsum((0.2, 0.15, 0.1, 0.2, 0.2, 0.15))
    prints = []
    for k in range(_PICTURES):
        kind = kinds[int(np.searchsorted(shares, (k + 0.5) / _PICTURES))]
        prints.append(kind(rng, photos[rng.integers(len(photos))]))
    worn = [_worn(rng) for _ in range(_WORN)]
    return Pictures(torch.from_numpy(np.stack(prints)), torch.from_numpy(np.stack(worn)), _environments(crops, rng))


def vivid(rng: np.random.Generator) -> tuple[int, int, int]:
    """A colour as paint has them, RGB: mostly saturated, now and then nearly black or white."""
    kind = rng.random()
    if kind < 0.15:
        return (int(rng.integers(0, 40)),) * 3
    if kind < 0.35:
        return (int(rng.integers(200, 256)),) * 3
    colour = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.4, 1), rng.uniform(0.3, 1))
    red, green, blue = (round(255 * value) for value in colour)
    return red, green, blue


def _pair(rng: np.random.Generator) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Two colours that can be told apart."""
    first = second = vivid(rng)
    while max(abs(a - b) for a, b in zip(first, second, strict=True)) < 80:
        second = vivid(rng)
    return first, second


def _plain(colour: tuple[int, int, int]) -> Picture:
    return np.full((_SIDE, _SIDE, 3), colour, np.uint8)


def _photograph(rng: np.random.Generator, photo: Picture) -> Picture:
    picture = photo.copy()
    if rng.random() < 0.5:  # other colours, as prints of any kind have them
        colour = np.array(vivid(rng)) / 255
        picture = (picture * (0.4 + 0.6 * colour)).astype(np.uint8)
    if rng.random() < 0.4:
        cv2.rectangle(picture, (0, 0), (_SIDE - 1, _SIDE - 1), vivid(rng), int(rng.integers(3, 12)))
    return picture


def _write(rng: np.random.Generator, picture: Picture, colour: tuple[int, int, int], lines: int) -> None:
    """Lines of text from top to bottom, larger where there are few."""
    height = _SIDE / lines
    font = _FONTS[rng.integers(len(_FONTS))]
    for line in range(lines):
        words = "".join(_LETTERS[k] for k in rng.integers(len(_LETTERS), size=rng.integers(2, 3 + 3 * lines)))
        (_, tall), _ = cv2.getTextSize(words, font, 1, 1)
        scale = height * rng.uniform(0.5, 0.8) / tall
        place = int(rng.integers(-6, 8)), int(height * (line + 0.8))
        cv2.putText(
            picture, words, place, font, scale, colour, max(1, round(scale * rng.uniform(0.8, 2.5))), cv2.LINE_AA
        )


def _text(rng: np.random.Generator, photo: Picture) -> Picture:
    paper, ink = _pair(rng)
    picture = _plain(paper)
    if rng.random() < 0.3:
        top = int(rng.integers(_SIDE))
        cv2.rectangle(picture, (0, top), (_SIDE, top + int(rng.integers(8, 30))), vivid(rng), -1)
    _write(rng, picture, ink, int(rng.integers(1, 7)))
    return picture


def _noise(rng: np.random.Generator, photo: Picture) -> Picture:
    """Several octaves, between two colours or three."""
    field = np.zeros((_SIDE, _SIDE), np.float32)
    falling = rng.uniform(0.3, 0.9)
    stretch = rng.choice([1, 1, 4])  # as grained wood
    for octave in range(1, 6):
        low = rng.standard_normal((max(1, 2**octave // stretch), 2**octave)).astype(np.float32)
        field += falling**octave * cv2.resize(low, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
    field = np.clip(
        (field - field.min()) / max(float(np.ptp(field)), 1e-6) * rng.uniform(1, 3) - rng.uniform(0, 1), 0, 1
    )
    first, second = _pair(rng)
    mixed = np.array(first) + field[..., None] * (np.array(second) - np.array(first))
    return mixed.astype(np.uint8)


def _pattern(rng: np.random.Generator, photo: Picture) -> Picture:
    """Stripes, checks, a grid or dots, at right angles and repeated."""
    first, second = _pair(rng)
    number = int(rng.choice([1, 2, 4, 8]))
    y, x = np.mgrid[:_SIDE, :_SIDE] * (number / _SIDE)
    duty = rng.uniform(0.2, 0.7)
    kind = rng.integers(4)
    if kind == 0:
        on = x % 1 < duty
    elif kind == 1:
        on = (np.floor(2 * x) + np.floor(2 * y)) % 2 == 0
    elif kind == 2:
        on = (x % 1 < duty / 3) | (y % 1 < duty / 3)
    else:
        on = np.hypot(x % 1 - 0.5, y % 1 - 0.5) < duty / 1.6
    return np.where(on[..., None], np.array(first), np.array(second)).astype(np.uint8)


def _toy_face(rng: np.random.Generator, photo: Picture) -> Picture:
    """A printed face of a toy: ground, border, a large figure or letter, or a picture of many patches."""
    ground, ink = _pair(rng)
    picture = _plain(ground)
    centre = tuple(int(value) for value in rng.integers(24, 40, 2))
    kind = rng.integers(5)
    if kind == 0:
        letter, font = _LETTERS[rng.integers(len(_LETTERS))], _FONTS[rng.integers(len(_FONTS))]
        place = int(rng.integers(4, 22)), int(rng.integers(46, 58))
        size, thick = rng.uniform(1.4, 2.4), int(rng.integers(2, 7))
        cv2.putText(picture, letter, place, font, size, ink, thick, cv2.LINE_AA)
    elif kind == 1:
        cv2.circle(picture, centre, int(rng.integers(10, 24)), ink, -1, cv2.LINE_AA)
        cv2.circle(picture, centre, int(rng.integers(3, 10)), vivid(rng), -1, cv2.LINE_AA)
    elif kind == 2:
        corners = int(rng.integers(3, 9))
        angles = np.arange(corners) * 2 * math.pi / corners + rng.uniform(0, 6)
        radius = np.where(np.arange(corners) % 2, rng.uniform(8, 26), 26)
        points = np.stack([radius * np.cos(angles), radius * np.sin(angles)], 1) + centre
        cv2.fillPoly(picture, [points.round().astype(np.int32)], ink, cv2.LINE_AA)
    elif kind == 3:
        size = int(rng.integers(30, 56))
        top = (_SIDE - size) // 2
        picture[top : top + size, top : top + size] = cv2.resize(photo, (size, size), interpolation=cv2.INTER_AREA)
    else:  # a drawing: patches of few colours, with outlines
        for _ in range(rng.integers(4, 14)):
            where, axes = rng.integers(0, _SIDE, 2).tolist(), rng.integers(3, 20, 2).tolist()
            turn = float(rng.uniform(0, 180))
            cv2.ellipse(picture, where, axes, turn, 0, 360, vivid(rng), -1, cv2.LINE_AA)
            if rng.random() < 0.4:
                cv2.ellipse(picture, where, axes, turn, 0, 360, ink, 1, cv2.LINE_AA)
    if rng.random() < 0.5:
        cv2.rectangle(picture, (0, 0), (_SIDE - 1, _SIDE - 1), vivid(rng), int(rng.integers(2, 10)))
    return picture


def _label(rng: np.random.Generator, photo: Picture) -> Picture:
    """A label or parcel sticker: mostly white, small print, bars, a box of colour, a picture."""
    paper = vivid(rng) if rng.random() < 0.4 else (int(rng.integers(220, 256)),) * 3
    ink = vivid(rng) if rng.random() < 0.3 or min(paper) < 128 else (int(rng.integers(0, 60)),) * 3
    picture = _plain(paper)
    _write(rng, picture, ink, int(rng.integers(3, 9)))
    if rng.random() < 0.6:  # a bar code
        left, top = rng.integers(2, 30, 2)
        wide, tall = int(rng.integers(16, 32)), int(rng.integers(8, 26))
        bars = np.repeat(rng.integers(0, 2, wide), 1)[None, :, None] * 235 + 10
        picture[top : top + tall, left : left + wide] = bars
    if rng.random() < 0.5:
        corner = rng.integers(0, 40, 2)
        end = corner + rng.integers(10, 34, 2)
        cv2.rectangle(picture, corner.tolist(), end.tolist(), vivid(rng), -1)
    if rng.random() < 0.4:
        left, top, size = (int(value) for value in (*rng.integers(0, 36, 2), rng.integers(14, 28)))
        picture[top : top + size, left : left + size] = cv2.resize(photo, (size, size), interpolation=cv2.INTER_AREA)
    return picture


def _worn(rng: np.random.Generator) -> Picture:
    """Scratches, chips, smears and dirt."""
    picture = np.full((_SIDE, _SIDE), 128, np.uint8)
    dirt = _octaves(rng)
    picture = np.clip(picture - rng.uniform(0, 110) * np.clip(dirt - rng.uniform(0.2, 0.6), 0, 1), 0, 255).astype(
        np.uint8
    )
    shade = int(rng.choice([30, 70, 200, 250]))
    for _ in range(rng.integers(2, 30)):
        begin = rng.integers(0, _SIDE, 2)
        end = begin + rng.normal(0, 16, 2).astype(int)
        cv2.line(picture, begin.tolist(), end.tolist(), shade, 1, cv2.LINE_AA)
    for _ in range(rng.integers(0, 8)):
        where, axes = rng.integers(0, _SIDE, 2).tolist(), rng.integers(1, 5, 2).tolist()
        cv2.ellipse(picture, where, axes, float(rng.uniform(0, 180)), 0, 360, int(rng.integers(20, 250)), -1)
    return picture


def _octaves(rng: np.random.Generator) -> NDArray[Any]:
    field = np.zeros((_SIDE, _SIDE), np.float32)
    for octave in range(1, 6):
        low = rng.random((2**octave, 2**octave)).astype(np.float32)
        field += 0.6**octave * cv2.resize(low, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
    return (field - field.min()) / max(float(np.ptp(field)), 1e-6)


def _environments(crops: Tensor, rng: np.random.Generator) -> Tensor:
    """Photographs, blurred by a random amount, and rooms: a bright top, a dark bottom, windows and lamps."""
    found = []
    for k in range(_ENVIRONMENTS):
        if k % 2:
            rough = int(rng.choice([4, 8, 16]))
            crop = crops[int(rng.integers(len(crops)))][None].float().cpu()
            picture = F.interpolate(crop, (rough, rough), mode="area")[0].permute(1, 2, 0).numpy()
        else:
            top, bottom = rng.uniform(120, 255), rng.uniform(0, 120)
            picture = np.linspace(top, bottom, 16, dtype=np.float32)[:, None, None] * np.ones((1, 16, 3), np.float32)
            picture *= rng.uniform(0.8, 1.0, 3).astype(np.float32)
            for _ in range(rng.integers(1, 5)):
                left, up = rng.integers(1, 13, 2)
                picture[up : up + rng.integers(1, 4), left : left + rng.integers(1, 5)] = rng.uniform(180, 255)
        side = _ENVIRONMENT_SIDE
        found.append(np.clip(cv2.resize(picture, (side, side), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8))
    return torch.from_numpy(np.stack(found))
