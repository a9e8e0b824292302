"""Statistics over replicates, and analyses of masks, weights and errors."""
