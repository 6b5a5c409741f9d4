"""From what a user writes to plain requests and the settings of their sweep."""
