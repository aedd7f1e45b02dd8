"""What is on disk: files that are whole or not there, and rows of logs.

In come bytes and rows, out go the same. The ground floor: it knows of nothing
else here, and all may use it.
"""
