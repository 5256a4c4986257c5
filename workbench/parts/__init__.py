"""What a method chooses: one module per slot, one definition per idea."""
