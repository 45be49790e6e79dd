"""What is near what: search, duplicates, clusters, a map."""
