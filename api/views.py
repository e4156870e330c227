"""Forms of requests and answers, for validation and for the API's description.

Requests refuse unknown fields. Answers are written as plain documents for speed; the tests hold
each of them against its form here.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.pagination import CURSOR_MAX, PAGE_DEFAULT, PAGE_MAX

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Ns = Annotated[int, Field(description="nanoseconds since the Unix epoch, UTC")]
_SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid")


# --- requests ----------------------------------------------------------------------------------


class FileForm(_Form):
    """One line of a recording's manifest."""

    name: Annotated[str, Field(min_length=1, max_length=1000, examples=["run_0.mcap"])]
    size: Annotated[int, Field(ge=0, lt=1 << 50, description="bytes", examples=[1_048_576])]
    sha256: Annotated[Sha256, Field(examples=[_SHA])]
    sidecar: Annotated[bool, Field(description="metadata beside the data")] = False


class RecordingForm(_Form):
    """A recording announced by its manifest."""

    name: Annotated[str, Field(max_length=1000, examples=["line-3/run"])] = ""
    robot: Annotated[str, Field(min_length=1, max_length=100, examples=["arm-1"])]
    agreement: Annotated[str, Field(min_length=1, max_length=60, examples=["a-2026"])]
    sector: Annotated[str | None, Field(max_length=40, examples=["factory"])] = None
    start_time_ns: Annotated[int | None, Field(ge=0, lt=1 << 63)] = None
    files: Annotated[list[FileForm], Field(min_length=1, max_length=10_000)]


class PageQuery(_Form):
    """Which page of a listing."""

    cursor: Annotated[str | None, Field(max_length=CURSOR_MAX, description="next_cursor")] = None
    limit: Annotated[int, Field(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT


class RecordingsQuery(PageQuery):
    """Which recordings."""

    state: Annotated[str | None, Field(max_length=30, examples=["quarantined"])] = None


class DatasetsQuery(PageQuery):
    """Which datasets."""

    q: Annotated[str | None, Field(max_length=200, description="words to look for")] = None
    sector: Annotated[str | None, Field(max_length=40)] = None
    purpose: Annotated[str | None, Field(max_length=40, examples=["pretraining"])] = None


class PurposeQuery(_Form):
    """What the data are for."""

    purpose: Annotated[str | None, Field(max_length=40, examples=["pretraining"])] = None


class FilesQuery(PageQuery):
    """Which files, and what they are for."""

    purpose: Annotated[str | None, Field(max_length=40, examples=["pretraining"])] = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 200


class NoQuery(_Form):
    """No parameters are taken."""


# --- answers -----------------------------------------------------------------------------------


class InvalidField(_Form):
    """One field that does not have its form."""

    where: str
    why: str


class Problem(_Form):
    """Problem details (RFC 9457)."""

    type: Annotated[str, Field(examples=["urn:tanada:problem:refused"])]
    title: Annotated[str, Field(examples=["Refused"])]
    status: Annotated[int, Field(examples=[403])]
    detail: Annotated[str, Field(examples=["the terms do not allow this: purpose_not_allowed"])]
    rules: list[str] | None = None
    next_step: str | None = None
    errors: list[InvalidField] | None = None


class Health(_Form):
    """The server is up, and whether its account can be written."""

    status: str


class Me(_Form):
    """Who the caller is."""

    member: str
    name: str
    organisation: str
    organisation_name: str
    roles: list[str]
    operator: bool
    country: str


class ReceivedView(_Form):
    """What became of announcing a recording."""

    recording_id: Sha256
    state: str
    duplicate: bool
    missing: list[str]


class FileView(_Form):
    """One file that arrived whole."""

    name: str
    size: int
    sha256: Sha256


class StateView(_Form):
    """State of one recording."""

    recording_id: Sha256
    state: str


class ReasonView(_Form):
    """Why a recording was not simply accepted."""

    rule: str
    observed: str
    limit: str
    stream: str
    t_ns: int | None
    severity: str
    detail: str


class RecordingView(_Form):
    """One recording in a list."""

    recording_id: Sha256
    name: str
    state: str
    verdict: Annotated[str | None, Field(description="null until it was judged")]
    robot: str
    agreement: str
    sector: str
    reasons: list[ReasonView]
    tables: Annotated[dict[str, int], Field(description="rows per table")]
    bytes: int
    messages: int | None
    received_ns: Ns
    decided_ns: int | None
    start_ns: int | None
    end_ns: int | None


class StepView(_Form):
    """One thing that happened to a recording."""

    step: str
    at_ns: Ns
    detail: dict[str, Any]


class HeldByView(_Form):
    """A release that holds a recording."""

    dataset: str
    version: int
    state: str
    rows: int


class StoredFileView(FileView):
    """One file of a recording."""

    sidecar: bool
    stored: bool


class RecordingDetail(RecordingView):
    """One recording with its files, history and the releases that hold it."""

    files: list[StoredFileView]
    steps: list[StepView]
    releases: list[HeldByView]


class UseView(_Form):
    """What one recipient fetched of a release that holds the caller's recording."""

    recipient: Annotated[str, Field(description="name, or a stable pseudonym")]
    dataset: str
    version: int
    path: str
    bytes: int
    first_ns: Ns
    last_ns: Ns


class DatasetItem(_Form):
    """One dataset in the catalog."""

    id: str
    title: str
    description: str
    sectors: list[str]
    latest: Annotated[int | None, Field(description="newest published version")]
    digest: str | None
    summary: dict[str, Any]
    created_ns: Ns
    released_ns: int | None
    purposes: Annotated[list[str], Field(description="what the caller may use it for now")]
    access: Annotated[str, Field(description="granted or publisher")]


class PurposeView(_Form):
    """What the terms say to one purpose."""

    permit: bool
    rules: list[str]
    obligations: list[str]


class DatasetDetail(DatasetItem):
    """One dataset, and what the caller may do with it."""

    by_purpose: dict[str, PurposeView]
    terms_summary: list[str]


class ReleaseItem(_Form):
    """One version of a dataset."""

    dataset: str
    version: int
    digest: str
    state: str
    summary: dict[str, Any]
    created_ns: Ns
    withdrawn_ns: int | None


class FilesTotal(_Form):
    """How much a release holds."""

    count: int
    bytes: int


class ReleaseDetail(ReleaseItem):
    """One release with its terms as they apply to the caller."""

    terms: dict[str, Any]
    terms_summary: list[str]
    obligations: list[str]
    files: FilesTotal


class ReleaseFileView(_Form):
    """One file of a release."""

    path: str
    size: int
    sha256: Sha256
    rows: int | None
    media_type: str


class Facets(_Form):
    """How many datasets each choice would leave."""

    sector: dict[str, int]
    purpose: dict[str, int]


class RecordingPage(_Form):
    """A page of recordings."""

    items: list[RecordingView]
    next_cursor: str | None


class UsePage(_Form):
    """All uses of one recording."""

    items: list[UseView]


class DatasetPage(_Form):
    """A page of datasets."""

    items: list[DatasetItem]
    facets: Facets
    next_cursor: str | None


class ReleasePage(_Form):
    """All versions of one dataset, newest first."""

    items: list[ReleaseItem]


class FilePage(_Form):
    """A page of files."""

    items: list[ReleaseFileView]
    next_cursor: str | None
