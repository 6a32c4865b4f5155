"""Read captions from training-set files: formats, columns, canonical text, caption ids."""
