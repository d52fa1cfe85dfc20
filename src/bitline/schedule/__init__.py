"""When things run: segments that share the arrays, tiles, jobs of cores, buffer addresses."""
