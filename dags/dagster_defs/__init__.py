"""Dagster: assets, checks, sensors and schedules made from `pipelines.jobs`."""
