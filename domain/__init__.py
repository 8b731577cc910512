"""Pure rules of order management: same input, same output; no I/O, clock or randomness."""
