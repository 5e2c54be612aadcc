"""Which labels of a data set are likely to be wrong, by networks that never saw the photo."""
