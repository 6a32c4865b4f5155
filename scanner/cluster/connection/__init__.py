"""Start or join a Ray cluster, and choose what of it the actors use."""
