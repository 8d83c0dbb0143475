"""The story that `make demo` tells on a deployed local stack: every step really happens, and is asserted."""
