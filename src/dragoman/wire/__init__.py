"""Framing and JSON surgery: below every dialect, without a clock, I/O or the event loop."""
