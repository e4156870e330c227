"""What happens to a record, in order: decode, check, commit, release, withdraw, maintain."""
