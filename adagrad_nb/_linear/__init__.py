"""What `fit_linear` is made of: models, rows made ready, the course of the passes, and the sweeps over their rows."""
