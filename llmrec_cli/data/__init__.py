"""Shapes that every subject shares: histories, the catalogue, attributes and metrics. No torch."""
