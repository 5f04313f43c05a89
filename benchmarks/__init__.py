"""What things cost: each script says in its first lines what it measures."""
