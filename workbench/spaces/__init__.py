"""What can be found: search spaces, their operations, supernets and derived networks."""
