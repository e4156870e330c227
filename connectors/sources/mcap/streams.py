"""Channels of an MCAP recording gathered into streams."""

from __future__ import annotations

from itertools import chain, count
from typing import TYPE_CHECKING, Final

import numpy as np

from connectors.ros2.waiting import StreamRows
from connectors.source import Stream
from connectors.sources.mcap import records as rec
from schemas.errors import CorruptError, WrongFormatError
from schemas.ids import schema_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from connectors.source import Limits, SourceFile

KNOWN_ENCODINGS: Final = frozenset(
    {"cdr", "json", "protobuf", "ros1", "flatbuffer", "cbor", "msgpack"}
)
"""The message encodings that the MCAP registry lists."""
_NONE: Final = -1


class Streams:
    """All streams of a recording.

    A stream is a topic: several channels on it (several publishers, or the same one in several
    files) make one stream as long as they agree on schema and encoding. A channel that does not
    agree makes a stream of its own, named `topic [package/Type]`, with the first 8 digits of the
    schema id behind the type if that name is taken, too.

    Args:
        limits: Bounds for schemas and messages.
        formats: Serialization per topic as metadata.yaml declares it.
    """

    def __init__(self, limits: Limits, formats: Mapping[str, str]) -> None:
        self._limits, self._formats = limits, formats
        self._by_key: dict[tuple[str, str, str | None], StreamRows] = {}
        self._names: set[str] = set()
        self.all: list[StreamRows] = []
        self.topics: list[str] = []
        self._place: dict[int, int] = {}
        self.begin_file(None)

    def begin_file(self, file: SourceFile | None) -> None:
        """Forget channel and schema ids: they hold for one file."""
        self._file = file.name if file else ""
        self._schemas: dict[int, rec.Schema] = {}
        self._schema_keys: dict[int, str] = {}
        self._channels: dict[int, rec.Channel] = {}
        self._table = np.full(1 << 16, _NONE, np.int32)

    def record(self, opcode: int, content: memoryview) -> None:
        """Take a schema or channel record; repeated ones must be equal.

        Raises:
            RecordError: not parsable, or an id is used twice for different things.
            WrongFormatError: metadata.yaml declares another serialization.
        """
        if opcode == rec.SCHEMA:
            schema = rec.parse_schema(content)
            if self._schemas.setdefault(schema.id, schema) != schema:
                raise rec.RecordError(f"schema {schema.id} is defined twice, differently")
            return
        channel = rec.parse_channel(content)
        if channel.id in self._channels:
            if self._channels[channel.id] != channel:
                raise rec.RecordError(f"channel {channel.id} is defined twice, differently")
            return
        schema_of = self._schemas.get(channel.schema)
        if channel.schema and schema_of is None:
            raise rec.RecordError(
                f"channel {channel.id} names schema {channel.schema}, not defined"
            )
        self._channels[channel.id] = channel
        rows = self._stream(channel, schema_of)
        self._table[channel.id] = self._place[id(rows)]

    def of_channel(self, channel: int) -> StreamRows | None:
        """The stream of a channel of the current file."""
        place = int(self._table[channel])
        return None if place == _NONE else self.all[place]

    def places(self, channels: np.ndarray) -> np.ndarray:
        """(n,) uint16 positions in `all` of messages with these channel ids.

        Raises:
            CorruptError: a message of a channel that is not defined.
        """
        places = self._table[channels]
        unknown = places == _NONE
        if unknown.any():
            raise CorruptError(
                "a message of a channel that is not defined",
                subject=self._file,
                found=f"channel {int(channels[np.argmax(unknown)])}",
            )
        result: np.ndarray = places.astype(np.uint16)
        return result

    def _stream(self, channel: rec.Channel, schema: rec.Schema | None) -> StreamRows:
        declared = self._formats.get(channel.topic)
        if declared and declared != channel.encoding:
            raise WrongFormatError(
                "metadata.yaml and storage disagree on the serialization of a topic",
                subject=channel.topic,
                expected=declared,
                found=channel.encoding,
            )
        key = self._schema_key(schema)
        rows = self._by_key.get((channel.topic, channel.encoding, key))
        if rows is None:
            rows = StreamRows(
                Stream(
                    name=self._name(channel.topic, schema, key),
                    tables=(),
                    message_type=schema.name if schema else None,
                    encoding=channel.encoding,
                    schema_id=key,
                    schema_name=schema.name if schema else "",
                    schema_encoding=schema.encoding if schema else "",
                    schema_text=schema.text if schema else b"",
                    metadata=channel.metadata,
                ),
                self._limits,
            )
            self._by_key[channel.topic, channel.encoding, key] = rows
            self._place[id(rows)] = len(self.all)
            self.all.append(rows)
            self.topics.append(channel.topic)
        return rows

    def _schema_key(self, schema: rec.Schema | None) -> str | None:
        """Schema id, computed once per schema record: many channels may share a large text."""
        if schema is None:
            return None
        if schema.id not in self._schema_keys:
            self._schema_keys[schema.id] = schema_id(schema.name, schema.encoding, schema.text)
        return self._schema_keys[schema.id]

    def _name(self, topic: str, schema: rec.Schema | None, key: str | None) -> str:
        kind = schema.name if schema else "no schema"
        choices = [topic, f"{topic} [{kind}]", f"{topic} [{kind} {(key or '')[:8]}]"]
        # Numbers are needed only where equal schemas have different message encodings.
        numbered = (f"{choices[-1]} {number}" for number in count(2))
        name = next(each for each in chain(choices, numbered) if each not in self._names)
        self._names.add(name)
        return name
