"""Other relaxations of the choice of an operation: sigmoids, samples, the simplex."""
