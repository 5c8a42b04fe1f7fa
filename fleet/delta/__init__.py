"""The encoder of delta payloads.

pair.py      what a delta is made from
restore.py   the images, out of their full payloads
shingles.py  finds bytes that two images share at any offset
tables.py    what is known of both images before any window is coded
search.py    which ranges may help a window
path.py      which of them to use where
window.py    the smallest coding of a window
encode.py    all windows, on all processors, into one payload
runs.py      windows that are copied together
columns.py   the index
"""
