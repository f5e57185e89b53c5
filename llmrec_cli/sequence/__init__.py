"""The transformer on behaviour: network, packing, losses, training and what later stages read of it."""
