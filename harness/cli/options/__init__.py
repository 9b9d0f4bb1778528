"""What commands are given: options that several of them have, grids of cells, lists, and what a shell completes."""
