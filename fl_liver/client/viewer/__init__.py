"""A page of the hospital's own, on its own machine: a study goes in, score and heat maps come out, nothing is kept."""
