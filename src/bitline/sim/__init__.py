"""The simulator: runs decoded programs and nothing else. Values, time and energy come from the same stream."""
