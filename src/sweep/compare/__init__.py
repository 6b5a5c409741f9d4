"""What changed from one sweep to others: `python -m sweep.compare`."""
