"""Read one stream of one episode from the pinned tables, and shape it into samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pyarrow.compute as pc
import pyarrow.dataset as pd

from pipelines.release.frames import Layout
from pipelines.release.samples import Samples, columns_to_read, samples
from schemas.errors import WrongUseError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from connectors.stores.lake import Lake
    from pipelines.release.select import Episode
    from schemas.recipe import Feature, Recipe

_KEPT_PARTITIONS: Final = 64


class Reader:
    """Samples by episode and feature, all from the same pinned versions.

    Args:
        lake: The tables.
        pinned: Result of `Lake.pin`.
    """

    def __init__(self, lake: Lake, pinned: Mapping[str, int]) -> None:
        self._lake = lake
        self._pinned = pinned
        self._tables: dict[str, Any] = {}
        # A table's files are looked through once per partition, not once per episode.
        self._partitions: dict[tuple[str, str, Any], Any] = {}

    def samples(
        self, episode: Episode, name: str, feature: Feature, joints: Sequence[str] = ()
    ) -> Samples | None:
        """Samples of one feature; None = the episode has none.

        Args:
            episode: Which.
            name: The feature's name, for messages.
            feature: The feature.
            joints: Joints where the recipe leaves them open; empty = as recorded.

        Raises:
            WrongUseError: several streams fit, or the stream cannot be this feature.
        """
        stream = episode.stream_of(name, feature)
        asked = feature.joint_names(episode.robot, episode.robot_type)
        if stream is None or asked is None:
            return None
        rows = self._rows(episode, name, feature, stream)
        subject = f"feature {name}, stream {stream} of {episode.episode}"
        found = samples(rows, feature, asked or joints, subject)
        return found if len(found) else None

    def _rows(self, episode: Episode, name: str, feature: Feature, stream: str) -> pa.Table:
        del name
        condition = (
            (pc.field("recording_id") == episode.recording_id)
            & (pc.field("episode") == episode.episode)
            & (pc.field("stream") == stream)
        )
        for column, value in feature.where.items():
            condition &= pc.field(column) == value
        data = self._partition(feature.table, episode)
        return data.to_table(columns_to_read(feature), filter=condition)

    def _partition(self, table: str, episode: Episode) -> Any:
        key = (table, episode.organisation, episode.day)
        if key not in self._partitions:
            if table not in self._tables:
                self._tables[table] = self._lake.dataset(table, self._pinned)
            whole = self._tables[table]
            condition = (pc.field("organisation") == episode.organisation) & (
                pc.field("day") == episode.day
            )
            if len(self._partitions) >= _KEPT_PARTITIONS:
                self._partitions.pop(next(iter(self._partitions)))
            self._partitions[key] = pd.FileSystemDataset(
                list(whole.get_fragments(filter=condition)),
                whole.schema,
                whole.format,
                whole.filesystem,
            )
        return self._partitions[key]


def layouts(reader: Reader, recipe: Recipe, episodes: Sequence[Episode]) -> dict[str, Layout]:
    """Shape of every feature, from the recipe or else from the first episode that has it.

    Raises:
        WrongUseError: no episode has the feature.
    """
    found = {}
    for name, feature in recipe.features.items():
        if feature.is_camera or (not feature.is_list and len(feature.columns) == 1):
            found[name] = Layout()
        elif not feature.is_list:
            found[name] = Layout(vector=True, width=len(feature.columns), names=feature.columns)
        elif isinstance(feature.joints, tuple) and feature.joints:
            found[name] = Layout(vector=True, width=len(feature.joints), names=feature.joints)
        else:
            found[name] = _probed(reader, name, feature, episodes)
    return found


def _probed(reader: Reader, name: str, feature: Feature, episodes: Sequence[Episode]) -> Layout:
    for episode in episodes:
        first = reader.samples(episode, name, feature)
        if first is not None:
            # Joints that the recipe names per robot have no names in common.
            names = () if feature.joints else first.names
            return Layout(vector=True, width=first.width, names=names)
    raise no_values(name, feature)


def no_values(name: str, feature: Feature) -> WrongUseError:
    """The error for a feature that no episode gives a value for."""
    return WrongUseError(
        "no episode has a value of this feature",
        subject=f"feature {name}",
        expected=f"rows of {feature.stream} in {feature.table}"
        + (f" with the joints {feature.joints}" if feature.joints else ""),
        next_step="correct stream, columns or joints: tanada lake query "
        "'SELECT DISTINCT stream, tables FROM streams'",
    )
