"""The samplers, one file each, and what they share: the rows still being computed, and the passes of a block."""
