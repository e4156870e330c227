"""Adapters for schedulers. The only place that may import Airflow or Dagster."""
