"""Readers of trained networks."""
