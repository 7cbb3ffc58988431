"""What the kinds mean: names, reasons and parsed specs. Pure: no I/O, no clock, no logging."""
