"""Row-level security and the roles of a server's connections; PostgreSQL only.

A policy lets a row be seen by whom its name says: `organisation` by a transaction that is bound to
the row's organisation, `platform` by the tables' owner in a transaction that is bound to none,
`gate` and `account` by those roles. Without a policy that fits there are no rows.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ROLES = ("tanada_api", "tanada_gate", "tanada_account")
BOUND = "current_setting('tanada.organisation', true)"
OWN = f"organisation_id = {BOUND}"
RECORDING = "EXISTS (SELECT FROM recordings r WHERE r.id = recording_id)"
# In a subquery the tables' own policies hold again: "a recording" is one of the organisation's.
# Of others a contributor sees who was delivered what from a release that holds its recordings.
VISIBLE = {
    "organisations": f"id = {BOUND} OR EXISTS "
    "(SELECT FROM deliveries d WHERE d.organisation_id = organisations.id)",
    "members": OWN,
    "keys": "EXISTS (SELECT FROM members m WHERE m.id = member_id)",
    "sessions": "EXISTS (SELECT FROM keys k WHERE k.id = key_id)",
    "robots": OWN,
    "agreements": OWN,
    "recordings": OWN,
    "recording_files": OWN,
    "recording_steps": RECORDING,
    "release_recordings": RECORDING,
    "grants": f"{OWN} OR EXISTS (SELECT FROM deliveries d WHERE d.grant_id = grants.id)",
    "deliveries": f"{OWN} OR EXISTS (SELECT FROM release_recordings c "
    "WHERE c.dataset_id = deliveries.dataset_id AND c.version = deliveries.version)",
    "usage": f"EXISTS (SELECT FROM grants g WHERE g.id = grant_id AND g.{OWN})",
    "decisions": OWN,
    "audit": OWN,
}
RIGHTS = {
    "tanada_api": {
        "SELECT": "organisations, robots, agreements, datasets, grants, releases, release_files, "
        "release_recordings, deliveries",
        "SELECT, INSERT, UPDATE": "recordings",
        "SELECT, INSERT, UPDATE, DELETE": "recording_files",
        "SELECT, INSERT": "recording_steps",
    },
    "tanada_gate": {"SELECT": "organisations, members, keys, sessions"},
    "tanada_account": {
        "SELECT, INSERT": "audit, decisions",
        "SELECT, INSERT, UPDATE": "usage, deliveries",
        "SELECT, INSERT, DELETE": "sessions",
    },
}
ALL_ROWS = {
    "gate": ("organisations", "members", "keys", "sessions"),
    "account": ("audit", "decisions", "usage", "deliveries", "sessions"),
}


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    # `accepted_with_warnings` is longer than 20.
    op.alter_column("recordings", "state", type_=sa.String(40), existing_nullable=False)
    for role in ROLES:
        _make(role)
    for table, visible in VISIBLE.items():
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        # The owner too, so that a transaction that is bound is bound whoever runs it.
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(
            f"CREATE POLICY organisation ON {table} TO tanada_api, CURRENT_USER USING ({visible})"
        )
        op.execute(
            f"CREATE POLICY platform ON {table} TO CURRENT_USER USING (coalesce({BOUND}, '') = '')"
        )
    for name, tables in ALL_ROWS.items():
        for table in tables:
            role = f"tanada_{name}"
            # A policy holds for a role's members too, and the owner is one: only who took it.
            op.execute(f"CREATE POLICY {name} ON {table} TO {role} USING (current_user = '{role}')")
    for role, rights in RIGHTS.items():
        for right, tables in rights.items():
            op.execute(f"GRANT {right} ON {tables} TO {role}")
    op.execute("GRANT USAGE ON SEQUENCE recording_steps_id_seq TO tanada_api")


def _make(role: str) -> None:
    """A role for the whole server, which other databases on it may use already."""
    bind = op.get_bind()
    found = bind.execute(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role})
    if found.first() is None:
        op.execute(f"CREATE ROLE {role} NOLOGIN")
    member = "SELECT pg_has_role(current_user, :role, 'MEMBER')"
    if not bind.scalar(sa.text(member), {"role": role}):
        op.execute(f"GRANT {role} TO CURRENT_USER")


def downgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute("REVOKE USAGE ON SEQUENCE recording_steps_id_seq FROM tanada_api")
    for role, rights in RIGHTS.items():
        for right, tables in rights.items():
            op.execute(f"REVOKE {right} ON {tables} FROM {role}")
    for name, tables in ALL_ROWS.items():
        for table in tables:
            op.execute(f"DROP POLICY {name} ON {table}")
    for table in VISIBLE:
        op.execute(f"DROP POLICY platform ON {table}")
        op.execute(f"DROP POLICY organisation ON {table}")
        op.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")
    # The wider state stays: rows may need it. The roles stay: other databases may use them.
