"""The version of ddetr-model; the only place that states it."""

__version__ = "0.1.0"
