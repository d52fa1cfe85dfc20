"""bitline: a compiler for compute-in-memory chips that proves its programs right."""

__version__ = "0.1.0"
