"""What `peers.py` is made of: models for the peers, processes, figures, the report."""
