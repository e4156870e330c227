"""Web pages for people: rendered here, no script, nothing fetched from elsewhere."""
