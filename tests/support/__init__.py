"""Servers that tests talk to: real ones, started and stopped by fixtures."""
