"""The figures that a set of groups allows: what each shows, its points, and how it is drawn."""
