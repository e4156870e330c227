"""From verdicts to rows: plans, and the one committer."""

from pipelines.commit.committer import COMMIT_ORDER, Committer
from pipelines.commit.plan import Plan, PlannedFile, PlannedRecording
from pipelines.commit.rows import Judged

__all__ = ["COMMIT_ORDER", "Committer", "Judged", "Plan", "PlannedFile", "PlannedRecording"]
