"""Drawn camera pictures: a work place per sector, a moving gripper or aisle, sensor noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from infra.demo.motion import base_motion, holding, joint_motion

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from infra.demo.motion import Profile

    Colour = tuple[int, int, int]
    Box = tuple[float, float, float, float]

WIDTH: Final = 640
HEIGHT: Final = 480
_BONNET: Final = ((90, 480), (150, 440), (490, 440), (550, 480))  # the robot's own front


@dataclass(frozen=True, slots=True)
class Thing:
    """One object on the table: class, box (left, top, right, bottom) [px], colour, roundness."""

    label: str
    box: Box
    colour: Colour
    round: bool = False


@dataclass(frozen=True, slots=True)
class Scene:
    """A work place: colours of wall, table and edge, and what stands on it.

    A camera above an arm's table (`arm`) stands still; one on a driving robot sees the things move.
    """

    wall: Colour
    table: Colour
    edge: Colour
    things: tuple[Thing, ...]
    arm: bool = True


SCENES: Final = {
    "bench": Scene(
        (92, 98, 104),
        (150, 146, 138),
        (96, 92, 86),
        (
            Thing("fixture", (70, 300, 190, 400), (70, 84, 110)),
            Thing("part", (280, 330, 340, 380), (190, 140, 60)),
            Thing("tray", (420, 290, 580, 410), (60, 96, 92)),
        ),
    ),
    "restaurant": Scene(
        (214, 200, 178),
        (128, 86, 54),
        (84, 54, 34),
        (
            Thing("table", (40, 290, 250, 430), (160, 112, 72), round=True),
            Thing("table", (400, 280, 610, 420), (168, 118, 76), round=True),
            Thing("tray", (260, 350, 380, 400), (44, 44, 48)),
            Thing("cup", (300, 320, 334, 360), (236, 236, 230), round=True),
            Thing("chair", (230, 260, 280, 330), (74, 52, 40)),
        ),
        arm=False,
    ),
    "food": Scene(
        (226, 232, 234),
        (176, 186, 190),
        (120, 130, 136),
        (
            Thing("bento_box", (60, 290, 230, 410), (34, 30, 34)),
            Thing("rice", (80, 310, 145, 392), (244, 244, 236)),
            Thing("karaage", (300, 320, 346, 362), (176, 110, 46), round=True),
            Thing("karaage", (360, 340, 404, 380), (166, 100, 40), round=True),
            Thing("tamagoyaki", (440, 310, 500, 344), (240, 206, 84)),
            Thing("broccoli", (520, 340, 566, 386), (70, 128, 58), round=True),
        ),
    ),
    "medical": Scene(
        (188, 206, 212),
        (90, 150, 156),
        (58, 108, 114),
        (
            Thing("forceps", (90, 330, 230, 346), (206, 210, 214)),
            Thing("scissors", (110, 368, 220, 384), (196, 200, 206)),
            Thing("vial_rack", (300, 300, 420, 370), (236, 238, 240)),
            Thing("vial", (316, 286, 334, 330), (178, 64, 60), round=True),
            Thing("vial", (350, 286, 368, 330), (66, 96, 168), round=True),
            Thing("tray", (460, 300, 600, 400), (170, 176, 182)),
        ),
    ),
    "factory": Scene(
        (72, 78, 84),
        (112, 116, 118),
        (66, 68, 70),
        (
            Thing("vise", (70, 310, 200, 410), (58, 66, 88)),
            Thing("workpiece", (110, 290, 162, 330), (186, 188, 192)),
            Thing("workpiece", (320, 340, 372, 380), (182, 184, 190)),
            Thing("bin", (430, 290, 600, 420), (198, 150, 40)),
        ),
    ),
    "logistics": Scene(
        (150, 158, 166),
        (128, 126, 122),
        (212, 190, 60),
        (
            Thing("pallet", (50, 370, 210, 420), (164, 122, 74)),
            Thing("carton", (70, 290, 140, 370), (190, 148, 96)),
            Thing("carton", (144, 310, 200, 370), (182, 138, 86)),
            Thing("rack", (430, 180, 600, 420), (58, 92, 158)),
            Thing("dock_marker", (330, 380, 380, 410), (236, 206, 40)),
        ),
        arm=False,
    ),
}


def things_at(profile: Profile, t: float) -> list[Thing]:
    """The scene's objects at one time: carried by the gripper, or passed by on the way."""
    scene = SCENES[profile.scene]
    if not scene.arm:
        return [_passed(thing, profile, t) for thing in scene.things]
    x, y = gripper_at(profile, t)
    moved = next((i for i, thing in enumerate(scene.things) if _small(thing)), None)
    if moved is None or holding(np.array([t]))[0] < 1:
        return list(scene.things)
    held = scene.things[moved]
    left, top, right, bottom = held.box
    half = (right - left) / 2
    box = (x - half, y + 8, x + half, y + 8 + bottom - top)
    rest = [thing for i, thing in enumerate(scene.things) if i != moved]
    return [*rest, Thing(held.label, box, held.colour, held.round)]


def gripper_at(profile: Profile, t: float) -> tuple[float, float]:
    """Where the gripper is in the picture [px]; follows the first joints."""
    q, _, _ = joint_motion(profile, np.array([t]))
    reach = np.asarray(profile.reach)
    share = q[0] / reach
    return WIDTH * (0.5 + 0.32 * share[0]), HEIGHT * (0.5 + 0.16 * share[1 % len(share)])


def _passed(thing: Thing, profile: Profile, t: float) -> Thing:
    """The thing as a driving camera sees it: shifted by the heading, larger when near."""
    base = base_motion(profile, np.array([t]))
    shift = 70.0 * float(np.sin(base.yaw[0]))
    zoom = 1.0 + 0.12 * float(base.x[0]) / max(profile.drive[0], 1e-9)
    left, top, right, bottom = thing.box
    horizon = HEIGHT * 0.42
    across = [WIDTH / 2 + (x - WIDTH / 2) * zoom + shift for x in (left, right)]
    down = [horizon + (y - horizon) * zoom for y in (top, bottom)]
    return replace(thing, box=(across[0], down[0], across[1], down[1]))


def _small(thing: Thing) -> bool:
    return thing.box[2] - thing.box[0] < WIDTH / 10


def jpeg(profile: Profile, t: float, stamp_ns: int, *, seed: int, quality: int) -> bytes:
    """Draw and encode one frame.

    Args:
        profile: Whose camera.
        t: Seconds since the start of the recording.
        stamp_ns: Time to print into the picture, ns UTC.
        seed: Of the sensor noise.
        quality: JPEG quality, 1..95.

    Returns:
        A baseline JPEG, 640x480, 4:2:0.
    """
    scene = SCENES[profile.scene]
    horizon = HEIGHT * 0.42
    image = Image.new("RGB", (WIDTH, HEIGHT), scene.wall)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, horizon, WIDTH, HEIGHT), fill=scene.table)
    draw.rectangle((0, horizon - 6, WIDTH, horizon), fill=scene.edge)
    for thing in things_at(profile, t):
        _draw_thing(draw, thing)
    if scene.arm:
        _draw_gripper(draw, *gripper_at(profile, t), closed=float(holding(np.array([t]))[0]))
    else:
        draw.polygon(_BONNET, fill=(38, 40, 44), outline=(70, 72, 76))
    moment = datetime.fromtimestamp(stamp_ns / 1e9, UTC)
    text = f"{profile.name}  {moment:%Y-%m-%d %H:%M:%S}.{moment.microsecond // 1000:03d} UTC"
    draw.rectangle((0, 0, WIDTH, 22), fill=(16, 16, 18))
    draw.text((8, 4), text, fill=(230, 230, 230), font=_font())
    out = BytesIO()
    Image.fromarray(_noisy(np.asarray(image), seed)).save(out, "JPEG", quality=quality)
    return out.getvalue()


def _draw_thing(draw: ImageDraw.ImageDraw, thing: Thing) -> None:
    left, top, right, bottom = thing.box
    shade = tuple(max(0, c - 44) for c in thing.colour)
    draw.ellipse((left - 4, bottom - 10, right + 10, bottom + 8), fill=(50, 48, 46))
    shape = draw.ellipse if thing.round else draw.rectangle
    shape(thing.box, fill=thing.colour, outline=shade, width=3)
    draw.line((left + 6, top + 8, right - 8, top + 8), fill=(255, 255, 255), width=1)


def _draw_gripper(draw: ImageDraw.ImageDraw, x: float, y: float, *, closed: float) -> None:
    gap = 10 + 16 * (1 - closed)
    draw.line((WIDTH / 2, 24, x, y - 60), fill=(40, 42, 46), width=22)
    draw.line((x, y - 64, x, y - 30), fill=(222, 120, 36), width=18)
    draw.rectangle((x - 28, y - 34, x + 28, y - 20), fill=(56, 58, 62))
    for side in (-1, 1):
        finger = x + side * gap
        draw.rectangle((finger - 4, y - 22, finger + 4, y + 12), fill=(28, 28, 30))


@cache
def _fall() -> NDArray[np.float32]:
    """Darker corners: what share of the light arrives, float32 (HEIGHT, WIDTH, 1)."""
    rows, columns = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    fall: NDArray[np.float32] = (1.0 - 0.12 * (rows**2 + columns**2)).astype(np.float32)
    return fall[:, :, None]


@cache
def _font() -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(13)


def _noisy(pixels: NDArray[np.uint8], seed: int) -> NDArray[np.uint8]:
    """Sensor noise (one value per pixel, all channels) and darker corners."""
    grain = np.random.default_rng(seed).integers(-9, 10, (HEIGHT, WIDTH, 1), dtype=np.int8)
    light = pixels * _fall()
    light += grain
    np.clip(light, 0, 255, out=light)
    noisy: NDArray[np.uint8] = light.astype(np.uint8)
    return noisy
