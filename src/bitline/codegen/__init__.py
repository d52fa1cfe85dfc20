"""From a schedule to a program: build the loop nest of every kernel, then split it into one queue per unit."""
