"""Samples: from files, folders, globs and generators into the form that a model's inputs ask for."""
