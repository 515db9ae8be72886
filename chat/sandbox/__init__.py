"""Where a model's code runs: one port, a backend for each kind of wall. Knows no Django."""
