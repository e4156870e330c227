"""Build one release of a dataset: the file to read first.

```
pin tables -> select episodes -> licence -> write rows -> describe -> seal -> publish
```
The tree is written beside the releases and moved into its place whole; the catalog names it only
then. The same recipe on the same table versions gives the same digest, and no new version.
Provenance names table versions, so a compaction alone changes the digest; a scheduled build asks
with `skip_unchanged` whether what it would read is what the newest release was made from.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.engine import SPARK
from pipelines.observe import FinishedRelease, failure_told
from pipelines.release import card
from pipelines.release.licensing import LeftOut, licensed_episodes, obligations, release_terms
from pipelines.release.publish import Draft, building, newest, newest_release, publish
from pipelines.release.reader import Reader, layouts
from pipelines.release.select import limit_episodes, select_episodes
from pipelines.release.statistics import Described, describe
from pipelines.release.tree import canonical_json, release_digest, seal
from pipelines.release.write import write_rows
from schemas.licences import Terms
from schemas.quality import Severity

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from connectors.stores.lake import Lake
    from pipelines.cli.platform import Platform
    from pipelines.release.licensing import Licensed
    from pipelines.release.select import Episode
    from pipelines.release.write import Progress, Written
    from schemas.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Release:
    """What a build gave.

    Attributes:
        dataset / version / digest: The release; with `created` false the newest one, unchanged.
        created: Whether there is a new version.
        summary: Counts, splits, features; `pipelines.release.card.summary`.
        left_out: Recordings without terms in force.
        dropped: Episode -> why it gave no frame.
        files / bytes: Of the whole tree.
        terms: The release's terms.
    """

    dataset: str
    version: int
    digest: str
    created: bool
    summary: Mapping[str, Any]
    left_out: Sequence[LeftOut]
    dropped: Mapping[str, str]
    files: int
    bytes: int
    terms: Terms


def build(
    platform: Platform,
    recipe: Recipe,
    *,
    strict: bool = False,
    skip_unchanged: bool = False,
    progress: Progress = lambda _step, _done, _total: None,
) -> Release:
    """Build a release of the recipe's dataset from what is visible now.

    Args:
        platform: Root, lake, catalog and clock.
        recipe: What goes in.
        strict: Refuse, rather than leave out, recordings whose agreements are over.
        skip_unchanged: Build nothing where recipe, episodes, their checks and their terms are
            those of the newest release, whatever became of the tables' versions meanwhile.
        progress: Called with (step, done, total).

    Raises:
        WrongUseError: the recipe does not fit what is in the lake.
        LicenceError: terms forbid it; the pair that conflicts is named.
        GoneError: something was withdrawn meanwhile.
        CatalogBusyError: another process builds this dataset.
        DamagedError: pictures are missing from the lake.
    """
    started_ns = platform.clock()
    failures = failure_told(
        platform.observer, platform.clock, "release", recipe.dataset, started_ns=started_ns
    )
    with failures, building(platform.root, recipe.dataset) as folder:
        pinned = platform.lake.pin()
        licensed = _licensed(platform, pinned, recipe, strict=strict)
        # Before any work: what conflicts stays out of the tree.
        release_terms(recipe, licensed)
        sources = sources_digest(recipe, licensed)
        if skip_unchanged:
            latest = newest_release(platform.engine, recipe.dataset)
            if latest is not None and latest["summary"].get("sources") == sources:
                return _unchanged(latest, licensed.left_out)
        written = _written(platform, folder, pinned, recipe, licensed.episodes, progress=progress)
        members = [episode for episode, _, _ in written.members]
        terms = release_terms(recipe, replace(licensed, episodes=members))
        progress("statistics", 0, 1)
        about = card.About(
            recipe=recipe,
            terms=terms,
            obligations=obligations(recipe, terms),
            pinned=pinned,
            written=written,
            statistics=_statistics(recipe, written),
            warnings=_warnings(platform.lake, pinned, members),
            left_out=len(licensed.left_out),
            media_bytes=sum(facts.bytes for facts in written.cameras.values()),
        )
        _write_documents(folder, about)
        progress("seal", 0, 1)
        draft = _draft(folder, about, terms, sources)
        progress("publish", 0, 1)
        version, created = _published(platform, folder, draft)
        progress("publish", 1, 1)
    _tell(platform, draft, version, started_ns)
    return Release(
        dataset=recipe.dataset,
        version=version,
        digest=draft.digest,
        created=created,
        summary=draft.summary,
        left_out=licensed.left_out,
        dropped=written.dropped,
        files=len(draft.files),
        bytes=sum(file.size for file in draft.files),
        terms=terms,
    )


def _licensed(
    platform: Platform, pinned: dict[str, int], recipe: Recipe, *, strict: bool
) -> Licensed:
    candidates = select_episodes(platform.lake, platform.engine, pinned, recipe)
    found = licensed_episodes(platform.engine, candidates, platform.clock(), strict=strict)
    return replace(found, episodes=limit_episodes(found.episodes, recipe.filter.episodes))


def _written(
    platform: Platform,
    folder: Path,
    pinned: dict[str, int],
    recipe: Recipe,
    episodes: Sequence[Episode],
    *,
    progress: Progress,
) -> Written:
    """Write the rows, read by this process or by Spark; the release is the same."""
    reader = Reader(platform.lake, pinned)
    # The first episodes tell the shapes: too little to ask a cluster for.
    shapes = layouts(reader, recipe, episodes)
    if platform.settings.engine == SPARK:
        # Imported by those who ask for it only: it is large, and optional.
        from pipelines.spark.rows import SparkReader

        reader = SparkReader(platform, pinned, recipe, episodes)
    return write_rows(
        folder,
        recipe,
        reader,
        episodes,
        shapes,
        media_root=platform.root.path,
        progress=progress,
    )


def _tell(platform: Platform, draft: Draft, version: int, started_ns: int) -> None:
    platform.observer.released(
        FinishedRelease(
            dataset=draft.recipe.dataset,
            version=version,
            digest=draft.digest,
            started_ns=started_ns,
            finished_ns=platform.clock(),
            pinned=dict(draft.pinned),
        )
    )


def _published(platform: Platform, folder: Path, draft: Draft) -> tuple[int, bool]:
    """Publish unless the newest release has the same digest: (version, whether it is new)."""
    latest = newest(platform.engine, draft.recipe.dataset)
    if latest is not None and latest[1] == draft.digest:
        return latest[0], False
    return publish(platform.root, platform.engine, folder, draft, platform.clock()), True


def sources_digest(recipe: Recipe, licensed: Licensed) -> str:
    """SHA-256 over what a build would read: recipe, episodes with their checks, terms.

    Table versions are left out on purpose: compaction and other recordings change them, the rows
    that are read stay the same.
    """
    episodes = [
        [
            episode.episode,
            episode.check_run,
            episode.decoder_version,
            episode.robot_type,
            episode.agreement,
            episode.agreement_version,
        ]
        for episode in licensed.episodes
    ]
    terms = {f"{key}@{version}": t.document() for (key, version), t in licensed.terms.items()}
    document = {"recipe": recipe.model_dump(mode="json"), "episodes": episodes, "terms": terms}
    return hashlib.sha256(canonical_json(document)).hexdigest()


def _unchanged(latest: Mapping[str, Any], left_out: Sequence[LeftOut]) -> Release:
    """The newest release, as the answer to a build that had nothing new to read."""
    return Release(
        dataset=latest["dataset"],
        version=latest["version"],
        digest=latest["digest"],
        created=False,
        summary=latest["summary"],
        left_out=left_out,
        dropped={},
        files=latest["files"],
        bytes=latest["summary"]["bytes"],
        terms=Terms.model_validate(latest["terms"]),
    )


def _draft(folder: Path, about: card.About, terms: Terms, sources: str) -> Draft:
    files = seal(folder)
    rows: Counter[tuple[str, str, int]] = Counter()
    for episode, _, frames in about.written.members:
        rows[episode.recording_id, episode.agreement, episode.agreement_version] += frames
    return Draft(
        recipe=about.recipe,
        digest=release_digest(files),
        pinned=about.pinned,
        terms=terms.document(),
        summary=card.summary(about)
        | {"bytes": sum(file.size for file in files), "sources": sources},
        files=files,
        recordings=[(*key, count) for key, count in sorted(rows.items())],
    )


def _write_documents(folder: Path, about: card.About) -> None:
    documents = {
        "schema.json": card.schema_document(about.written),
        "statistics.json": about.statistics,
        "release.json": card.release_document(about),
        "plot.json": card.plot_document(about),
    }
    for name, document in documents.items():
        if document is not None:
            (folder / name).write_bytes(canonical_json(document))
    (folder / "card.md").write_text(card.card(about), "utf-8")


def _statistics(recipe: Recipe, written: Written) -> dict[str, Any]:
    """`statistics.json`: exact numbers of every feature over all frames, and over each split."""
    numeric = [
        Described(name, written.layouts[name].width if written.layouts[name].vector else None)
        for name, feature in recipe.features.items()
        if not feature.is_camera and not pa.types.is_string(feature.value_type)
    ]
    files, total = written.frames.files, written.frames.rows
    features: dict[str, Any] = describe(files, numeric)
    for name, feature in recipe.features.items():
        if feature.is_camera:
            facts = written.cameras[name]
            features[name] = {
                "count": facts.frames,
                "missing": total - facts.frames,
                "pictures": facts.pictures,
                "bytes": facts.bytes,
                "sizes": [list(size) for size in sorted(facts.sizes)],
            }
        elif name not in features:
            count = written.values[name]
            features[name] = {"count": count, "missing": total - count}
    splits = sorted({split for _, split, _ in written.members})
    return {
        "features": features,
        "splits": {
            split: {
                "features": describe(files, numeric, split=split)
                if len(splits) > 1
                else {described.name: features[described.name] for described in numeric}
            }
            for split in splits
        },
    }


def _warnings(lake: Lake, pinned: Mapping[str, int], episodes: Sequence[Episode]) -> dict[str, int]:
    """Rule -> recordings that broke it and were accepted all the same."""
    runs = pa.array(sorted({episode.check_run for episode in episodes}), pa.string())
    rows = lake.read(
        "quality",
        pinned,
        columns=["recording_id", "check_run", "rule", "passed", "severity"],
        recordings=sorted({episode.recording_id for episode in episodes}),
    )
    broken = rows.filter(
        pc.and_(
            pc.is_in(rows["check_run"], value_set=runs),
            pc.and_(pc.invert(rows["passed"]), pc.equal(rows["severity"], Severity.WARNING.value)),
        )
    )
    pairs = {(row["rule"], row["recording_id"]) for row in broken.to_pylist()}
    return dict(sorted(Counter(rule for rule, _ in pairs).items()))
