"""Where things lie: the root folder, received bytes, Delta tables and the catalog database."""
