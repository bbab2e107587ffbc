"""Long experiments: each module makes the tables that a notebook shows."""
