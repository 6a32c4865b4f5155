"""The scan: plan over the captions, score them on the pool, seal."""
