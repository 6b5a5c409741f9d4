"""From how a cell's processes ended and what they reported, to its row; pure."""
