"""What the command line and Python programs call."""
