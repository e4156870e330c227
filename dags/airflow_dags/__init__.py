"""Airflow: DAGs made from `pipelines.jobs`."""
