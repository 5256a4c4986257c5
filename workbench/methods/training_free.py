"""No training: operations and genotypes judged by scores at random weights."""
