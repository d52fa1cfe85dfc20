"""Checks every artefact with code of its own: nothing here was used to make what it checks."""
