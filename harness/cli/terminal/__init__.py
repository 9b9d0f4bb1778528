"""How commands look: what they say and where, help, tables, progress, and what is said of words they do not take."""
