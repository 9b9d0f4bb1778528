"""The report: tables, curves and statistics from run folders. Needs no torch."""
