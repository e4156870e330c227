"""What a release says about itself: `schema.json`, `release.json`, `plot.json`, `card.md`.

Contributors are rivals of one another: they are named only where their terms ask for it, and
robots and sites never. Nothing here depends on a clock or on the release's number.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.release.frames import feature_doc, feature_unit
from schemas.recipe import MARKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipelines.release.frames import Layout
    from pipelines.release.write import Written
    from schemas.licences import Terms
    from schemas.recipe import Feature, Recipe

PLOT_POINTS: Final = 500
PLOT_SERIES: Final = 8
CARD_ELEMENTS: Final = 16
"""Longest vector whose statistics stand on the card."""
_NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class About:
    """Everything the documents are made of.

    Attributes:
        recipe: The recipe.
        terms: The release's own terms.
        obligations: What follows for recipients.
        pinned: Table -> version the rows were read at.
        written: What went in.
        statistics: Document of `statistics.json`.
        warnings: Rule -> recordings in the release that broke it.
        left_out: Recordings without terms in force.
        media_bytes: Bytes of pictures.
    """

    recipe: Recipe
    terms: Terms
    obligations: list[str]
    pinned: Mapping[str, int]
    written: Written
    statistics: Mapping[str, Any]
    warnings: Mapping[str, int]
    left_out: int
    media_bytes: int

    def seconds(self, frames: int) -> float:
        """Length of so many frames, s."""
        return float(Fraction(frames) / self.recipe.rate_hz)


def summary(about: About) -> dict[str, Any]:
    """Counts and features: what lists, facets and `release.json` show."""
    members = about.written.members
    return {
        "episodes": len(members),
        "frames": about.written.frames.rows,
        "seconds": about.seconds(about.written.frames.rows),
        "rate_hz": str(about.recipe.rate_hz),
        "purposes": list(about.recipe.purposes),
        "sectors": _counts(about, ((e.sector, n) for e, _, n in members)),
        "splits": _counts(about, ((split, n) for _, split, n in members)),
        "robot_types": _counts(about, ((e.robot_type, n) for e, _, n in members)),
        "robots": len({(e.organisation, e.robot) for e, _, _ in members}),
        "recordings": len({e.recording_id for e, _, _ in members}),
        "verdicts": dict(sorted(Counter(e.verdict for e, _, _ in members).items())),
        "warnings": dict(sorted(about.warnings.items())),
        "media_bytes": about.media_bytes,
        "features": {n: _feature(about, n, f) for n, f in about.recipe.features.items()},
        "left_out": {
            "recordings_without_terms": about.left_out,
            "episodes_without_frames": len(about.written.dropped),
        },
    }


def _counts(about: About, members: Iterable[tuple[str, int]]) -> dict[str, dict[str, Any]]:
    episodes: Counter[str] = Counter()
    frames: Counter[str] = Counter()
    for key, count in members:
        episodes[key] += 1
        frames[key] += count
    return {
        key: {
            "episodes": episodes[key],
            "frames": frames[key],
            "seconds": about.seconds(frames[key]),
        }
        for key in sorted(episodes)
    }


def _feature(about: About, name: str, feature: Feature) -> dict[str, Any]:
    layout = about.written.layouts[name]
    return {
        "kind": "image" if feature.is_camera else ("vector" if layout.vector else "scalar"),
        "type": "bytes" if feature.is_camera else str(feature.value_type),
        "width": layout.width,
        "names": list(layout.names),
        "unit": "" if feature.is_camera else feature_unit(feature),
        "doc": feature_doc(feature, layout),
        "table": feature.table,
        "columns": list(feature.columns),
        "align": feature.align.value,
        "max_skew_ms": feature.max_skew_ms,
        "required": feature.required,
        "frames": about.written.values[name],
    }


def release_document(about: About) -> dict[str, Any]:
    """`release.json`: the card for machines."""
    recipe, members = about.recipe, about.written.members
    tables = {"episodes", "streams", "quality", *(f.table for f in recipe.features.values())}
    return {
        "dataset": recipe.dataset,
        "title": recipe.title,
        "description": recipe.description,
        "summary": summary(about),
        "missing": recipe.missing.value,
        "splits": {
            "seed": recipe.splits.seed,
            "by": recipe.splits.by,
            "names": recipe.splits.names,
        },
        "licence": {
            "summary": about.terms.summary(),
            "obligations": about.obligations,
            "attribution": list(about.terms.attribution.text)
            if about.terms.attribution.required
            else [],
        },
        "provenance": {
            "tables": {t: v for t, v in about.pinned.items() if t in tables},
            "decoders": {
                name: sorted({e.decoder_version for e, _, _ in members if e.source == name})
                for name in sorted({e.source for e, _, _ in members})
            },
            "recordings": sorted({e.recording_id for e, _, _ in members}),
        },
    }


def schema_document(written: Written) -> dict[str, Any]:
    """`schema.json`: every table's columns with type, unit and meaning."""
    return {
        "tables": {
            name: [_field(f) for f in writer.schema]
            for name, writer in (("frames", written.frames), ("episodes", written.episodes))
        }
    }


def _field(field: pa.Field) -> dict[str, str]:
    metadata = field.metadata or {}
    listed = pa.types.is_list(field.type)
    return {
        "name": field.name,
        "type": f"list<{field.type.value_type}>" if listed else str(field.type),
        "unit": metadata.get(b"unit", b"").decode(),
        "doc": metadata.get(b"doc", b"").decode(),
    }


def plot_document(about: About) -> dict[str, Any] | None:
    """`plot.json`: the first numeric feature over the first episode that has it, thinned."""
    written = about.written
    for name, feature in about.recipe.features.items():
        if feature.is_camera or name not in about.statistics["features"]:
            continue
        if "mean" not in about.statistics["features"][name]:
            continue
        rows = _first_rows(written, name)
        step = max(1, -(-len(rows) // PLOT_POINTS))
        rows = rows.take(np.arange(0, len(rows), step))
        t = rows["t_ns"].to_numpy()
        width = written.layouts[name].width
        values = rows[name].to_pylist()
        return {
            "title": name,
            "unit": feature_unit(feature),
            "series": [
                {
                    "name": name if width is None else _element(written.layouts[name], i),
                    "t": [round(float(x), 6) for x in (t - t[0]) / _NS],
                    "v": [_point(value, None if width is None else i) for value in values],
                }
                for i in range(min(PLOT_SERIES, width or 1))
            ],
        }
    return None


def _element(layout: Layout, position: int) -> str:
    return layout.names[position] if layout.names else str(position)


def _first_rows(written: Written, name: str) -> pa.Table:
    """Frames of the first episode that has a value of the feature."""
    columns = ["episode_index", "t_ns", name]
    for path in written.frames.files:
        with pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group, columns=columns)
                there = rows.filter(rows[name].is_valid())
                if len(there):
                    first = there["episode_index"][0]
                    return rows.filter(pc.equal(rows["episode_index"], first))
    raise AssertionError(f"{name} has no value")


def _point(value: Any, element: int | None) -> float | None:
    number = value if element is None or value is None else value[element]
    return float(number) if number is not None and np.isfinite(float(number)) else None


def card(about: About) -> str:
    """`card.md`: the release for people."""
    recipe, facts = about.recipe, summary(about)
    lines = [
        f"# {recipe.title}",
        "",
        recipe.description.strip() or "No description was given.",
        "",
        "## What is in it",
        "",
        (
            f"{facts['episodes']:,} episodes of {facts['robots']:,} robots, "
            f"{facts['frames']:,} frames at {_rate(recipe)} Hz, "
            f"{_duration(facts['seconds'])} (h:mm:ss)."
        ),
        "",
        *_table(
            ("sector", "episodes", "frames", "duration"),
            (
                (k, v["episodes"], v["frames"], _duration(v["seconds"]))
                for k, v in facts["sectors"].items()
            ),
        ),
        *_table(
            ("split", "episodes", "frames", "duration"),
            (
                (k, v["episodes"], v["frames"], _duration(v["seconds"]))
                for k, v in facts["splits"].items()
            ),
        ),
        f"Splits are drawn by {recipe.splits.by}"
        + (f", seed {recipe.splits.seed}." if recipe.splits.fractions else ", as listed."),
        "",
        *_features(about, facts),
        *_statistics(about),
        *_quality(facts),
        *_licence(about),
        *_provenance(about),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _rate(recipe: Recipe) -> str:
    rate = recipe.rate_hz
    return str(rate) if rate.denominator == 1 else f"{rate} ({float(rate):.4g})"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}:{minutes:02}:{rest:02}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> list[str]:
    return [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows),
        "",
    ]


def _cell(value: Any) -> str:
    text = f"{value:,}" if isinstance(value, int) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")


def _features(about: About, facts: Mapping[str, Any]) -> list[str]:
    rows = []
    for name, feature in facts["features"].items():
        shape = f"{feature['type']}[{feature['width']}]" if feature["width"] else feature["type"]
        limit = "any" if feature["max_skew_ms"] is None else f"{feature['max_skew_ms']:g} ms"
        share = feature["frames"] / facts["frames"]
        rows.append(
            (
                name,
                shape,
                feature["unit"],
                f"{feature['align']}, {limit}",
                f"{share:.2%}",
                feature["doc"],
            )
        )
    return [
        "## Features",
        "",
        f"Beside each feature stand `.{MARKS[0]}` (no new measurement: repeated or interpolated) "
        f"and `.{MARKS[1]}` (time of the sample minus the frame's, ns). "
        + {
            "drop_frame": "Frames that lack a required feature are left out.",
            "drop_episode": "Episodes with a frame that lacks a required feature are left out.",
            "keep_null": "Where a feature has no value it is null.",
        }[about.recipe.missing.value],
        "",
        *_table(("feature", "type", "unit", "alignment", "frames with it", "what it is"), rows),
    ]


def _statistics(about: About) -> list[str]:
    rows = []
    for name, found in about.statistics["features"].items():
        if "mean" not in found:
            continue
        layout = about.written.layouts[name]
        if (layout.width or 1) > CARD_ELEMENTS:
            continue
        for i in range(layout.width or 1):
            label = name if layout.width is None else f"{name}[{_element(layout, i)}]"
            keys = ("min", "q01", "q50", "q99", "max", "mean", "std")
            values = (found[k] if layout.width is None else found[k][i] for k in keys)
            rows.append((label, *("-" if v is None else f"{v:.6g}" for v in values)))
    if not rows:
        return []
    head = ("feature", "min", "q01", "median", "q99", "max", "mean", "std")
    return [
        "## Statistics",
        "",
        (
            "Exact, over all frames. `statistics.json` has every split too, and vectors of more "
            f"than {CARD_ELEMENTS} elements."
        ),
        "",
        *_table(head, rows),
    ]


def _quality(facts: Mapping[str, Any]) -> list[str]:
    rows = [(name.replace("_", " "), count) for name, count in facts["verdicts"].items()]
    lines = ["## Quality", "", *_table(("verdict", "episodes"), rows)]
    if facts["warnings"]:
        lines += _table(("warning", "recordings"), facts["warnings"].items())
    return lines


def _licence(about: About) -> list[str]:
    lines = ["## Licence", "", *(f"- {line}" for line in about.terms.summary()), ""]
    if about.obligations:
        lines += ["Obligations:", "", *(f"- {line}" for line in about.obligations), ""]
    if about.terms.attribution.required:
        lines += ["Name these contributors:", ""]
        lines += [*(f"- {text}" for text in about.terms.attribution.text), ""]
    return lines


def _provenance(about: About) -> list[str]:
    document = release_document(about)["provenance"]
    decoders = ", ".join(f"{n} {' '.join(v)}" for n, v in document["decoders"].items())
    versions = ", ".join(f"{name} {version}" for name, version in document["tables"].items())
    count = len(document["recordings"])
    return [
        "## Provenance",
        "",
        f"Rows were copied from these table versions: {versions}. Decoded by {decoders}.",
        "",
        (
            f"The ids of the {count:,} recordings stand in `release.json`; "
            "they are digests of their bytes and name no contributor."
        ),
        "",
    ]
