"""The machine routes, grouped by what they are about."""
