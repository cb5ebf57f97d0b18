"""What a run of a minimiser is made of: objectives in every form, and the slices of iterations between checks."""
