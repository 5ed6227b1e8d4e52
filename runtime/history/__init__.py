"""What has settled, in SQL: it answers what Redis has forgotten."""
