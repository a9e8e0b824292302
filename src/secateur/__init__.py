"""Secateur prunes neural language models, finds their winning tickets and makes them really small and fast."""
