"""From requests to the cells of a sweep, and which of them can run where; pure."""
