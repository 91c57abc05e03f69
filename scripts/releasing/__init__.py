"""What scripts/release.py is made of: versions, changelogs, ranges, and one whole step."""
