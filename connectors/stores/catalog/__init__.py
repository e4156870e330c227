"""The catalog database: parties, recordings, datasets, releases, account."""
