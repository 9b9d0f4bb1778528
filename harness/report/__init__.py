"""The report: one page, tables, figures and statistics from run folders. Needs no torch."""
