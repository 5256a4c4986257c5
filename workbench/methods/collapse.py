"""Against the collapse to skip connections, and against the gap of discretisation."""
