"""From the disk to typed rows: runs and their records, and the numbers that papers print."""
