"""Candidates from retrievers, their features, and the rankers that order them."""
