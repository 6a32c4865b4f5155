"""Plan a scan: choose and read the input files, group equal captions, list the slices."""
