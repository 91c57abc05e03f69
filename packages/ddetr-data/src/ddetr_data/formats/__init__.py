"""Label formats: readers that give rows, and lines to write."""
