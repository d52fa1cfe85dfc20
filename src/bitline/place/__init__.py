"""Where weights lie: matrices cut into blocks, blocks packed into arrays."""
