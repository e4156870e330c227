"""Spark: executors that decode, and Delta through Spark. Imported by those who ask for it only."""
