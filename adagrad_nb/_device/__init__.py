"""Everything that happens to arrays on a CUDA device."""
