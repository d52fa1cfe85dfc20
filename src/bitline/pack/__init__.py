"""Rectangles into equal bins without rotation, and how few bins could do: pure geometry, no chip and no network."""
