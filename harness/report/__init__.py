"""The report of finished runs: statistics, tables, figures and the pages that hold them. No torch.

Five rooms, each of which imports from itself, from those before it and from `labels`, which names things and writes
numbers:

    read       run folders and published values as typed rows
    analysis   groups of runs, intervals, tests, curves, budgets, ablations: numbers alone
    figures    what is drawn, its points and the drawing
    chapters   tables, sentences, sections: the report in no format
    formats    HTML, Markdown, LaTeX, CSV, and the folder of all of them
"""
