"""What "good" means: a batch in, loss and metrics out."""
