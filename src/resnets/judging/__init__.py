"""A model judged on labelled photos: which ones, the answers, the figures, and the page."""
