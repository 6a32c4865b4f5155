"""From files of a training set to captions: formats, columns, canonical text, caption ids."""
