"""Where Luigi keeps what works with other programs, under the same names."""
