"""The families of models: a file each, whose LAYOUT says what their checkpoints look like. A new file is a
new family."""
