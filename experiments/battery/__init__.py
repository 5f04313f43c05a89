"""A used lithium-ion cell from a few readings: meta-learned networks, others, and the equations."""
