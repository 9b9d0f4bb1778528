"""The report as files: HTML, Markdown, LaTeX, CSV, and the folder of all of them."""
