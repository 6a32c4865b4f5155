"""Group training images that are the same, by perceptual hashes or by a given file."""
