"""Models without trained weights: random ones, and shapes alone, to count memory and FLOPs."""
