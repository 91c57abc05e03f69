"""A run's figures as one HTML file that needs no other file."""
