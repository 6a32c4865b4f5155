"""Score samples: how much better the model denoises an image with the sample's caption."""
