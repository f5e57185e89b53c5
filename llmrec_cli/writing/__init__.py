"""Texts about items and users: the facts they may use and the check that they use no others."""
