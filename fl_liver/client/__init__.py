"""The hospital's side: its cohort, its training, and the single way out (`egress`)."""
