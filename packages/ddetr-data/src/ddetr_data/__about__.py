"""The version of ddetr-data; the only file that states it."""

__version__ = "0.1.0"
