"""From input files to a plan: what is read, which captions are equal, which slices there are."""
