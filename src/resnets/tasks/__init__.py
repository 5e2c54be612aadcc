"""What networks are for: each task brings its loss, its score and its rows."""
