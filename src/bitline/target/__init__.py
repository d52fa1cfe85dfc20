"""Chips as data: schema, loader, catalog, what an array computes on them and what an instruction costs."""
