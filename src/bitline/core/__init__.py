"""Diagnostics, canonical JSON, atomic files: what every room may use."""
