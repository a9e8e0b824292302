"""Data sets: raw files found, verified and parsed once into arrays; text to ids; batches."""
