"""What a step of `update` is made of: options, gradients made ready, leaves of x, and the transforms between arrays."""
