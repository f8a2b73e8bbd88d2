"""Readers of data sets as they lie on disk: one module per layout, none of which opens a video or a picture.

`listing` says what a reader returns, `registry` finds the reader that fits a folder, `hygiene` checks and makes splits.
"""
