"""A CUDA device in software, to run the compiled kernels without a GPU; see README.md."""
