"""Pure functions from what is to what should be done: no I/O, no clock, no logging."""
