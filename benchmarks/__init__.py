"""Measurements of speed and memory, printed beside their targets and peers. Never timed tests: `tests/` holds those."""
