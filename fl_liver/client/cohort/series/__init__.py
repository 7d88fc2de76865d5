"""What a series is and whether its slices make a volume."""
