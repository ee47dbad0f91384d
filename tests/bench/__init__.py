"""Measurements, outside the gate: `make bench`."""
