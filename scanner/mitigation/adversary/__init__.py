"""An adversary: search near a caption for what still reproduces its training image."""
