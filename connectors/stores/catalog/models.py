"""The catalog database: one model for SQLite and PostgreSQL.

It can be rebuilt from lake and raw, except for parties and terms. Stamps are int64 nanoseconds
UTC (`…_ns`). JSON columns hold documents whose shape a class in `schemas` defines.
Rows are never deleted where an audit, decision or delivery may name them: they change state.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
Ns = BigInteger
# SQLite counts only INTEGER primary keys up by itself; PostgreSQL needs the wide type.
Sequence = BigInteger().with_variant(Integer, "sqlite")
# 0001 made it too short for `accepted_with_warnings`. 0003 widened it where lengths hold; SQLite
# ignores them, and could change them only by making the table anew.
RecordingState = String(40).with_variant(String(20), "sqlite")


class Base(DeclarativeBase):
    """Declarative base; names of constraints are fixed so that migrations can name them."""

    metadata = MetaData(naming_convention=NAMING)


# --- parties -----------------------------------------------------------------------------------


class Organisation(Base):
    """A legal party."""

    __tablename__ = "organisations"
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    legal_name: Mapped[str] = mapped_column(String(300))
    corporate_number: Mapped[str | None] = mapped_column(String(13))
    country: Mapped[str] = mapped_column(String(2), default="JP")
    operator: Mapped[bool] = mapped_column(Boolean, default=False)
    """Whether it runs this platform; exactly one does."""
    state: Mapped[str] = mapped_column(String(20), default="active")
    created_ns: Mapped[int] = mapped_column(Ns)


class Member(Base):
    """A person or machine of one organisation."""

    __tablename__ = "members"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"), index=True)
    name: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(10), default="machine")
    roles: Mapped[list[str]] = mapped_column(JSON)
    """Of partner, engineer, steward, model, auditor, admin."""
    state: Mapped[str] = mapped_column(String(20), default="active")
    created_ns: Mapped[int] = mapped_column(Ns)


class Key(Base):
    """One key of a member. Only its keyed hash is stored."""

    __tablename__ = "keys"
    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    """Public prefix, for look-up and lists."""
    member_id: Mapped[str] = mapped_column(ForeignKey("members.id"), index=True)
    digest: Mapped[str] = mapped_column(String(64))
    """HMAC-SHA256 of the secret part under the platform's pepper."""
    created_ns: Mapped[int] = mapped_column(Ns)
    expires_ns: Mapped[int | None] = mapped_column(Ns)
    revoked_ns: Mapped[int | None] = mapped_column(Ns)


class Session(Base):
    """One browser session, opened with a key."""

    __tablename__ = "sessions"
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    """HMAC-SHA256 of the cookie's value."""
    key_id: Mapped[str] = mapped_column(ForeignKey("keys.id"))
    csrf: Mapped[str] = mapped_column(String(64))
    created_ns: Mapped[int] = mapped_column(Ns)
    expires_ns: Mapped[int] = mapped_column(Ns)


class Robot(Base):
    """One robot of one organisation."""

    __tablename__ = "robots"
    id: Mapped[str] = mapped_column(String(100), primary_key=True)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"), primary_key=True)
    type: Mapped[str] = mapped_column(String(100))
    sector: Mapped[str] = mapped_column(String(40))
    site: Mapped[str | None] = mapped_column(String(200))
    joint_limits: Mapped[dict[str, list[float]]] = mapped_column(JSON, default=dict)
    """Joint name -> [lower, upper] in rad or m, where declared."""
    state: Mapped[str] = mapped_column(String(20), default="active")
    created_ns: Mapped[int] = mapped_column(Ns)


class Agreement(Base):
    """Terms under which an organisation contributes data; terms are `schemas.licences.Terms`."""

    __tablename__ = "agreements"
    id: Mapped[str] = mapped_column(String(60), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True, default=1)
    """Terms never change in place: a new version supersedes the old one."""
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"), index=True)
    kind: Mapped[str] = mapped_column(String(30), default="provision_licence")
    title: Mapped[str] = mapped_column(String(300))
    terms: Mapped[dict[str, Any]] = mapped_column(JSON)
    document_sha256: Mapped[str | None] = mapped_column(String(64))
    state: Mapped[str] = mapped_column(String(20), default="active")
    created_ns: Mapped[int] = mapped_column(Ns)
    ended_ns: Mapped[int | None] = mapped_column(Ns)


# --- recordings --------------------------------------------------------------------------------


class Recording(Base):
    """What was handed in: one file or several that belong together; the unit of a verdict."""

    __tablename__ = "recordings"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    robot_id: Mapped[str] = mapped_column(String(100))
    agreement_id: Mapped[str] = mapped_column(String(60))
    agreement_version: Mapped[int] = mapped_column(Integer, default=1)
    sector: Mapped[str] = mapped_column(String(40))
    name: Mapped[str] = mapped_column(String(1000))
    """Path or name it was handed in under; metadata only."""
    start_time_ns: Mapped[int | None] = mapped_column(Ns)
    state: Mapped[str] = mapped_column(RecordingState, index=True)
    """receiving, received, leased, planned, accepted, accepted_with_warnings, quarantined,
    withdrawn or failed."""
    reasons: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    """Documents of `schemas.quality.Reason`."""
    tables: Mapped[dict[str, int]] = mapped_column(JSON, default=dict)
    """Rows per table once committed."""
    source: Mapped[str | None] = mapped_column(String(40))
    decoder_version: Mapped[str | None] = mapped_column(String(20))
    check_run: Mapped[str | None] = mapped_column(String(64))
    episodes: Mapped[list[str]] = mapped_column(JSON, default=list)
    start_ns: Mapped[int | None] = mapped_column(Ns)
    end_ns: Mapped[int | None] = mapped_column(Ns)
    messages: Mapped[int | None] = mapped_column(Ns)
    bytes: Mapped[int] = mapped_column(Ns)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(100))
    lease_until_ns: Mapped[int | None] = mapped_column(Ns)
    received_ns: Mapped[int] = mapped_column(Ns)
    decided_ns: Mapped[int | None] = mapped_column(Ns)
    __table_args__ = (
        Index("ix_recordings_organisation_received", "organisation_id", "received_ns"),
    )


class RecordingFile(Base):
    """One file of a recording. A data file belongs to one recording of its organisation."""

    __tablename__ = "recording_files"
    recording_id: Mapped[str] = mapped_column(ForeignKey("recordings.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(1000), primary_key=True)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    size: Mapped[int] = mapped_column(Ns)
    sha256: Mapped[str] = mapped_column(String(64))
    sidecar: Mapped[bool] = mapped_column(Boolean, default=False)
    original_sha256: Mapped[str | None] = mapped_column(String(64))
    """Of a sidecar that was redacted before it was stored."""
    stored: Mapped[bool] = mapped_column(Boolean, default=False)
    __table_args__ = (Index("ix_recording_files_content", "organisation_id", "sha256"),)


class RecordingStep(Base):
    """One thing that happened to a recording, in order; never changed."""

    __tablename__ = "recording_steps"
    id: Mapped[int] = mapped_column(Sequence, primary_key=True, autoincrement=True)
    recording_id: Mapped[str] = mapped_column(ForeignKey("recordings.id"), index=True)
    step: Mapped[str] = mapped_column(String(30))
    """receive, identify, decode, check, plan, commit, accept, quarantine, retry, withdraw …"""
    at_ns: Mapped[int] = mapped_column(Ns)
    worker: Mapped[str] = mapped_column(String(100), default="")
    detail: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)


class CommitPlan(Base):
    """What a batch is about to commit; durable before the first commit, replayed by recovery."""

    __tablename__ = "commit_plans"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[str] = mapped_column(String(20), default="ingest")
    state: Mapped[str] = mapped_column(String(20), index=True)
    """open, done or superseded."""
    document: Mapped[dict[str, Any]] = mapped_column(JSON)
    """`pipelines.commit.Plan`."""
    created_ns: Mapped[int] = mapped_column(Ns)
    done_ns: Mapped[int | None] = mapped_column(Ns)


# --- datasets and releases ---------------------------------------------------------------------


class Dataset(Base):
    """A named recipe."""

    __tablename__ = "datasets"
    id: Mapped[str] = mapped_column(String(100), primary_key=True)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"))
    """Who publishes it (usually the operator)."""
    title: Mapped[str] = mapped_column(String(300))
    description: Mapped[str] = mapped_column(Text, default="")
    sectors: Mapped[list[str]] = mapped_column(JSON, default=list)
    recipe: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    """`schemas.recipe.Recipe` of the newest release, or of the first one to come."""
    state: Mapped[str] = mapped_column(String(20), default="active")
    created_ns: Mapped[int] = mapped_column(Ns)


class Grant(Base):
    """What one agreement lets one organisation do with one dataset."""

    __tablename__ = "grants"
    id: Mapped[str] = mapped_column(String(60), primary_key=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), index=True)
    organisation_id: Mapped[str] = mapped_column(ForeignKey("organisations.id"), index=True)
    """The recipient."""
    agreement_id: Mapped[str | None] = mapped_column(String(60))
    """The recipient's agreement with the operator, where there is one on file."""
    terms: Mapped[dict[str, Any]] = mapped_column(JSON)
    """`schemas.licences.Terms`; a delivery needs both these and the release's own."""
    terms_version: Mapped[int] = mapped_column(Integer, default=1)
    state: Mapped[str] = mapped_column(String(20), default="active")
    created_ns: Mapped[int] = mapped_column(Ns)
    revoked_ns: Mapped[int | None] = mapped_column(Ns)


class Release(Base):
    """One immutable version of a dataset."""

    __tablename__ = "releases"
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    digest: Mapped[str] = mapped_column(String(64), index=True)
    state: Mapped[str] = mapped_column(String(20), default="building")
    """building, published or withdrawn."""
    recipe: Mapped[dict[str, Any]] = mapped_column(JSON)
    pinned: Mapped[dict[str, int]] = mapped_column(JSON)
    """Table -> Delta version it was read at."""
    terms: Mapped[dict[str, Any]] = mapped_column(JSON)
    """Strictest intersection of its contributions' agreements."""
    summary: Mapped[dict[str, Any]] = mapped_column(JSON)
    """Episodes, frames, seconds, bytes, splits, features: what lists and facets show."""
    created_ns: Mapped[int] = mapped_column(Ns)
    withdrawn_ns: Mapped[int | None] = mapped_column(Ns)
    __table_args__ = (Index("ix_releases_created", "created_ns"),)


class ReleaseFile(Base):
    """One file of a release, below `releases/<dataset>/<version>/`."""

    __tablename__ = "release_files"
    dataset_id: Mapped[str] = mapped_column(String(100), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    path: Mapped[str] = mapped_column(String(500), primary_key=True)
    size: Mapped[int] = mapped_column(Ns)
    sha256: Mapped[str] = mapped_column(String(64))
    rows: Mapped[int | None] = mapped_column(Ns)
    media_type: Mapped[str] = mapped_column(String(100))


class ReleaseRecording(Base):
    """Which recording went into which release, and under which terms: the withdrawal graph."""

    __tablename__ = "release_recordings"
    dataset_id: Mapped[str] = mapped_column(String(100), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    recording_id: Mapped[str] = mapped_column(
        ForeignKey("recordings.id"), primary_key=True, index=True
    )
    agreement_id: Mapped[str] = mapped_column(String(60))
    agreement_version: Mapped[int] = mapped_column(Integer)
    rows: Mapped[int] = mapped_column(Ns)


# --- account -----------------------------------------------------------------------------------


class DecisionRow(Base):
    """One licence or access decision; written before a byte leaves."""

    __tablename__ = "decisions"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    at_ns: Mapped[int] = mapped_column(Ns, index=True)
    member_id: Mapped[str | None] = mapped_column(String(32))
    organisation_id: Mapped[str | None] = mapped_column(String(40), index=True)
    action: Mapped[str] = mapped_column(String(40))
    resource: Mapped[str] = mapped_column(String(600), index=True)
    purpose: Mapped[str | None] = mapped_column(String(40))
    grant_id: Mapped[str | None] = mapped_column(String(60))
    terms_version: Mapped[int | None] = mapped_column(Integer)
    permit: Mapped[bool] = mapped_column(Boolean)
    rules: Mapped[list[str]] = mapped_column(JSON)
    obligations: Mapped[list[str]] = mapped_column(JSON)


class AuditRow(Base):
    """One entry of the hash-chained audit log; never changed, never deleted."""

    __tablename__ = "audit"
    seq: Mapped[int] = mapped_column(Sequence, primary_key=True, autoincrement=True)
    at_ns: Mapped[int] = mapped_column(Ns)
    actor: Mapped[str | None] = mapped_column(String(32))
    organisation_id: Mapped[str | None] = mapped_column(String(40), index=True)
    action: Mapped[str] = mapped_column(String(40))
    resource: Mapped[str] = mapped_column(String(600))
    decision_id: Mapped[str | None] = mapped_column(String(32))
    outcome: Mapped[str] = mapped_column(String(20))
    amount: Mapped[int] = mapped_column(Ns, default=0)
    """Bytes reserved by this entry."""
    request_id: Mapped[str] = mapped_column(String(32), default="")
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64), unique=True)
    """SHA-256 over `previous` and the canonical JSON of the other fields."""


class Usage(Base):
    """Volume used under one grant in one window; reservation and decision are one transaction."""

    __tablename__ = "usage"
    grant_id: Mapped[str] = mapped_column(ForeignKey("grants.id"), primary_key=True)
    window: Mapped[str] = mapped_column(String(20), primary_key=True)
    """`2026-11-22`, `2026-11` or `term`."""
    bytes: Mapped[int] = mapped_column(Ns, default=0)
    rows: Mapped[int] = mapped_column(Ns, default=0)
    episodes: Mapped[int] = mapped_column(Ns, default=0)
    hours_of_video: Mapped[float] = mapped_column(Float, default=0.0)


class Delivery(Base):
    """What one recipient fetched of one file: distinct byte ranges, each charged once."""

    __tablename__ = "deliveries"
    organisation_id: Mapped[str] = mapped_column(String(40), primary_key=True)
    grant_id: Mapped[str] = mapped_column(String(60), primary_key=True)
    dataset_id: Mapped[str] = mapped_column(String(100), primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    path: Mapped[str] = mapped_column(String(500), primary_key=True)
    ranges: Mapped[list[list[int]]] = mapped_column(JSON, default=list)
    """Sorted, disjoint [start, end) that were served."""
    bytes: Mapped[int] = mapped_column(Ns, default=0)
    first_ns: Mapped[int] = mapped_column(Ns)
    last_ns: Mapped[int] = mapped_column(Ns)
