"""Serves the catalog: receive, search, decide, deliver, account. Never decodes, never commits."""
