"""Damaged and odd files through every door."""
