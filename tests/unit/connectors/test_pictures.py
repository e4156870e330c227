"""Picture sizes from headers equal what Pillow reads."""

from __future__ import annotations

import random
import struct
from io import BytesIO

import numpy as np
from PIL import Image

from connectors.ros2.pictures import describe_pictures


def picture(kind: str, size: tuple[int, int], **options: object) -> bytes:
    out = BytesIO()
    Image.new("RGB", size, (5, 6, 7)).save(out, kind, **options)
    return out.getvalue()


def describe(pictures: list[bytes]) -> list[tuple[str, int | None, int | None]]:
    offsets = np.cumsum([0, *map(len, pictures)])
    raw = np.frombuffer(b"".join(pictures), np.uint8)
    columns = describe_pictures(raw, offsets)
    return list(zip(*(column.to_pylist() for column in columns), strict=True))


def test_sizes_of_mixed_pictures() -> None:
    rng = random.Random(1)
    pictures, expected = [], []
    for number in range(60):
        size = (rng.randint(1, 900), rng.randint(1, 600)) if number % 2 else (640, 480)
        kind = rng.choice(["JPEG", "PNG"])
        options: dict[str, object] = {}
        if kind == "JPEG":
            options = {
                "quality": rng.choice([20, 90]),
                "progressive": rng.random() < 0.5,
                "comment": b"c" * rng.choice([0, 70]),
            }
        pictures.append(picture(kind, size, **options))
        expected.append((kind.lower(), *size))
    assert describe(pictures) == expected


def test_what_is_no_picture_is_unknown_and_never_an_error() -> None:
    jpeg = picture("JPEG", (32, 16))
    rng = random.Random(2)
    cuts = [jpeg[:cut] for cut in range(0, len(jpeg), 7)]
    junk = [rng.randbytes(rng.randint(0, 40)) for _ in range(50)]
    scan_first = b"\xff\xd8\xff\xda" + b"\0" * 40
    found = describe([*cuts, *junk, scan_first, b"\xff\xd8\xff" + b"\xff" * 40, jpeg])
    assert found[-1] == ("jpeg", 32, 16)
    assert found[0] == ("unknown", None, None)
    assert found[-3] == ("jpeg", None, None)
    assert {(width, height) for _, width, height in found} == {(None, None), (32, 16)}


def test_sides_beyond_31_bits_are_not_said() -> None:
    png = picture("PNG", (4, 4))
    huge = png[:16] + struct.pack(">II", 0xFFFFFFFF, 4) + png[24:]
    assert describe([huge, png]) == [("png", None, None), ("png", 4, 4)]
