"""Fast things behind signatures of ours; each third-party import in one file, and lazily."""
