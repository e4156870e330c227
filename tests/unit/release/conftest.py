"""A small lake written row by row, so that release tests need no decoder."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import write_deltalake

from connectors.stores.catalog import parties, recordings
from connectors.stores.catalog.database import writing
from pipelines.release.recipe_file import parse_recipe
from schemas.ids import episode_id, recording_id
from schemas.licences import Terms
from schemas.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pipelines.cli.platform import Platform
    from schemas.recipe import Recipe

MS = 1_000_000
START = 1_790_000_000_000_000_000
DAY = dt.date(2026, 9, 21)
OPEN_TERMS: dict[str, Any] = {
    "purposes_allowed": ["pretraining", "evaluation"],
    "territory": {"storage": ["JP"], "processing": ["JP"]},
    "personal": {"contains_pi": False},
    "medical": {"contains_medical": False},
}
JOINTS = ("a", "b", "c")
CAMERA = {"table": "video_frames", "stream": "/cam*", "align": "hold", "max_skew_ms": 100}


RECIPE: dict[str, Any] = {
    "dataset": "arms",
    "title": "Arms",
    "purposes": ["pretraining"],
    "rate_hz": 30,
    "features": {
        "state": {
            "table": "joint_states",
            "stream": "/joint_states",
            "columns": ["position"],
            "align": "nearest",
            "max_skew_ms": 20,
        },
        "force": {
            "table": "wrenches",
            "stream": "/wrench",
            "columns": ["force_x", "force_y", "force_z"],
            "align": "linear",
            "max_skew_ms": 20,
        },
    },
}


@dataclass
class Written:
    """What one recording put into the lake, for independent comparison."""

    recording: str
    episode: str
    rows: dict[tuple[str, str], pa.Table] = field(default_factory=dict)
    pictures: list[bytes] = field(default_factory=list)


class LakeWriter:
    """Puts recordings into a platform's lake and catalog, as an ingest would."""

    MS = MS
    START = START
    OPEN_TERMS = OPEN_TERMS
    CAMERA = CAMERA

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self._count = 0

    def organisation(self, name: str, terms: Mapping[str, Any] | None = None) -> str:
        """An organisation with agreement `<name>-terms`."""
        document = Terms.model_validate(dict(terms or OPEN_TERMS)).document()
        clock = self.platform.clock
        with writing(self.platform.engine) as connection:
            parties.add_organisation(connection, name=name, clock=clock)
            parties.add_agreement(
                connection,
                organisation=name,
                title="terms",
                terms=document,
                clock=clock,
                agreement=f"{name}-terms",
            )
        return name

    def robot(self, organisation: str, robot: str, kind: str, sector: str = "factory") -> None:
        with writing(self.platform.engine) as connection:
            parties.add_robot(
                connection,
                organisation=organisation,
                robot=robot,
                sector=sector,
                clock=self.platform.clock,
                kind=kind,
            )

    def recording(
        self,
        organisation: str = "acme",
        *,
        robot: str = "default",
        sector: str = "factory",
        agreement: str | None = None,
        streams: Mapping[tuple[str, str], pa.Table],
        pictures: int = 0,
        verdict: str = "accepted",
        start_ns: int = START,
        end_ns: int = START + 1000 * MS,
        visible: bool = True,
    ) -> Written:
        """Put one recording in; `streams`: (stream, table) -> rows with t_ns and own columns."""
        self._count += 1
        key = recording_id(organisation, [(self._count, f"{self._count:064x}")])
        written = Written(key, episode_id(key))
        self._register(organisation, key, robot, agreement, verdict)
        streams = dict(streams)
        if pictures:
            streams["/camera", "video_frames"] = self._pictures(organisation, written, pictures)
        common = {"organisation": organisation, "day": DAY, "recording_id": key}
        for (stream, table), rows in streams.items():
            written.rows[stream, table] = rows
            self._append(
                table,
                rows,
                common | {"episode": written.episode, "stream": stream, "file_id": f"{1:064x}"},
            )
        self._append(
            "streams",
            pa.table(
                {
                    "stream": [stream for stream, _ in streams],
                    "tables": pa.array([[table] for _, table in streams], pa.list_(pa.string())),
                }
            ),
            common
            | {"episode": written.episode, "encoding": "cdr", "clock": "header"}
            | {"messages": 1, "rows": 1},
        )
        if visible:
            row = {
                "episode": written.episode,
                "robot": robot,
                "sector": sector,
                "agreement": agreement or self._default(organisation),
                "verdict": verdict,
                "check_run": f"run-{self._count}",
                "source": "mcap",
                "decoder_version": "1",
                "start_ns": start_ns,
                "end_ns": end_ns,
                "received_ns": start_ns,
                "messages": 1,
                "files": 1,
                "bytes": 1,
            }
            self._append("episodes", pa.table({"episode": [written.episode]}), common | row)
        return written

    def withdraw(self, recording: str) -> None:
        with writing(self.platform.engine) as connection:
            recordings.set_state(connection, recording, "withdrawn")

    @staticmethod
    def joints(
        count: int = 101,
        step_ns: int = 10 * MS,
        start_ns: int = START,
        names: Sequence[str] = JOINTS,
    ) -> pa.Table:
        """Joint states every `step_ns`, with values that tell row and joint."""
        values = [[row + number / 10 for number in range(len(names))] for row in range(count)]
        return pa.table(
            {
                "t_ns": start_ns + np.arange(count) * step_ns,
                "names": pa.array([list(names)] * count, pa.list_(pa.string())),
                "position": pa.array(values, pa.list_(pa.float64())),
            }
        )

    @staticmethod
    def wrenches(count: int = 201, step_ns: int = 5 * MS, start_ns: int = START) -> pa.Table:
        """Forces and torques every `step_ns`, each axis a sine of its own."""
        t = np.arange(count)
        names = [f"{kind}_{axis}" for kind in ("force", "torque") for axis in "xyz"]
        columns = {name: np.sin(t * (i + 1) / 7.0) for i, name in enumerate(names)}
        return pa.table({"t_ns": start_ns + t * step_ns, **columns})

    def arm(self, organisation: str = "acme", **recording: Any) -> Written:
        """One recording with joint states, forces and 11 pictures."""
        streams = {
            ("/joint_states", "joint_states"): self.joints(),
            ("/wrench", "wrenches"): self.wrenches(),
        }
        return self.recording(organisation, **({"streams": streams, "pictures": 11} | recording))

    @staticmethod
    def recipe(**changes: Any) -> Recipe:
        """`RECIPE` with top-level fields replaced, through the YAML door (JSON is YAML)."""
        return parse_recipe(json.dumps(RECIPE | changes).encode())

    @staticmethod
    def features(**changes: Any) -> dict[str, Any]:
        """The features of `RECIPE`, with some added or (None) taken away."""
        merged = RECIPE["features"] | changes
        return {name: feature for name, feature in merged.items() if feature is not None}

    @staticmethod
    def _default(organisation: str) -> str:
        return "acme-own-use" if organisation == "acme" else f"{organisation}-terms"

    def _register(
        self,
        organisation: str,
        key: str,
        robot: str,
        agreement: str | None,
        verdict: str,
    ) -> None:
        row = {
            "id": key,
            "organisation_id": organisation,
            "robot_id": robot,
            "agreement_id": agreement or self._default(organisation),
            "sector": "factory",
            "name": "generated",
            "bytes": 1,
            "received_ns": START,
        }
        file = {"name": "x.mcap", "size": self._count, "sha256": f"{self._count:064x}"}
        with writing(self.platform.engine) as connection:
            recordings.register(connection, row, [file])
            recordings.set_state(connection, key, verdict)

    def _pictures(self, organisation: str, written: Written, count: int) -> pa.Table:
        folder = self.platform.root.media(organisation, written.recording)
        folder.mkdir(parents=True)
        blob = folder / "camera.blob"
        written.pictures = [
            b"\xff\xd8\xff" + bytes([i]) * (10 + i) + written.recording[:8].encode()
            for i in range(count)
        ]
        blob.write_bytes(b"".join(written.pictures))
        sizes = [len(p) for p in written.pictures]
        offsets = np.concatenate([[0], np.cumsum(sizes[:-1])]).astype(np.int64)
        return pa.table(
            {
                "t_ns": START + np.arange(count) * 100 * MS,
                "keyframe": [True] * count,
                "codec": ["jpeg"] * count,
                "width": pa.array([64] * count, pa.int32()),
                "height": pa.array([48] * count, pa.int32()),
                "blob": [blob.relative_to(self.platform.root.path).as_posix()] * count,
                "offset": offsets,
                "size": sizes,
            }
        )

    def _append(self, table: str, rows: pa.Table, constant: Mapping[str, Any]) -> None:
        schema = TABLES[table].arrow
        arrays = []
        for column in schema:
            if column.name in constant:
                arrays.append(pa.array([constant[column.name]] * len(rows), column.type))
            elif column.name in rows.column_names:
                arrays.append(rows[column.name].cast(column.type))
            elif column.name == "seq":
                arrays.append(pa.array(range(len(rows)), column.type))
            else:
                arrays.append(pa.nulls(len(rows), column.type))
        data = pa.Table.from_arrays(arrays, schema=schema)
        write_deltalake(self.platform.lake.open(table), data, mode="append")


@pytest.fixture
def lake(platform: Platform) -> LakeWriter:
    return LakeWriter(platform)


@pytest.fixture
def arms(lake: LakeWriter) -> list[Written]:
    """Three recordings of the operator, one after the other."""
    return [lake.arm(start_ns=START + i) for i in range(3)]
