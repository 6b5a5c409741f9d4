"""The fastest proved conversion of a sweep, within what is asked of it: `python -m sweep.pick`."""
