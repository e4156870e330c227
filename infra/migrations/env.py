"""Alembic's environment: the connection comes from `connectors.stores.catalog.database.migrate`."""

from alembic import context

from connectors.stores.catalog.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
