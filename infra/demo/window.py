"""One stretch of one topic: its moments, its noise, and what messages are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from infra.demo.cdr import encode_columns, encode_message, message_at

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from infra.demo.motion import Floats, Profile

NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic of a robot.

    Attributes:
        name: Topic name.
        type_name: `package/Name`; a key of `GENERATORS`.
        rate_hz: Messages per second.
        frame_id: Frame in its headers.
        low / high: Fewest and most items of a message that holds a list (transforms, statuses,
            detections); 0 and 0: the scene's own objects, or all of the robot's components.
        loose: Whether names inside the list change length from message to message.
    """

    name: str
    type_name: str
    rate_hz: float
    frame_id: str = "base_link"
    low: int = 0
    high: int = 0
    loose: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """One stretch of one topic that is generated together.

    Attributes:
        topic / profile: Whose messages.
        first: Number of the first message, from the start of the recording.
        t: Seconds since the start of the recording, shape (n,).
        stamp_ns: Header stamps, ns UTC, shape (n,).
        rng: Noise of this stretch.
        seed: Seed of the recording; with a message's number it fixes a picture.
        distinct_frames: How many pictures are drawn before they repeat; 0: every one.
        quality: JPEG quality.
    """

    topic: Topic
    profile: Profile
    first: int
    t: Floats
    stamp_ns: NDArray[np.int64]
    rng: np.random.Generator
    seed: int
    distinct_frames: int
    quality: int
    pictures: dict[int, bytes]

    @property
    def header(self) -> dict[str, Any]:
        """Columns of std_msgs/Header."""
        return {"stamp": self.stamp, "frame_id": self.topic.frame_id}

    @property
    def stamp(self) -> dict[str, Any]:
        """Columns of builtin_interfaces/Time."""
        return {"sec": self.stamp_ns // NS, "nanosec": self.stamp_ns % NS}

    def headers(self) -> list[dict[str, Any]]:
        """One std_msgs/Header per message."""
        return [{"stamp": s, "frame_id": self.topic.frame_id} for s in self.stamps()]

    def stamps(self) -> list[dict[str, int]]:
        """One builtin_interfaces/Time per message."""
        return [{"sec": ns // NS, "nanosec": ns % NS} for ns in self.stamp_ns.tolist()]

    def noise(self, scale: float, *shape: int) -> Floats:
        """Normal noise of shape (n, *shape)."""
        return self.rng.normal(0.0, scale, (len(self.t), *shape))


@dataclass(frozen=True, slots=True)
class Messages:
    """Messages of one window.

    Attributes:
        payloads: CDR bytes.
        intended: The values of message i, as nested plain values.
    """

    payloads: Sequence[bytes]
    intended: Callable[[int], dict[str, Any]]


def columns(window: Window, tree: Mapping[str, Any]) -> Messages:
    """Messages of one layout, from a tree of columns (see `cdr.encode_columns`)."""
    kind = window.topic.type_name
    payloads = encode_columns(kind, tree, len(window.t))
    return Messages(payloads, lambda i: message_at(kind, tree, i))


def rows(window: Window, said: list[dict[str, Any]]) -> Messages:
    """Messages of any layout, each given as nested values."""
    kind = window.topic.type_name
    return Messages([encode_message(kind, row) for row in said], said.__getitem__)


def vector(values: Floats) -> dict[str, Floats]:
    """Columns x, y, z (and w) of values with shape (n, 3) or (n, 4)."""
    return dict(zip("xyzw", values.T, strict=False))


def diagonal(*values: float) -> Floats:
    """A square covariance, row by row, with these variances and nothing else."""
    return np.diag(values).ravel()
