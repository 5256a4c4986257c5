"""Less memory, step by step: partial channels, stages, annealing and pruning, morphisms."""
