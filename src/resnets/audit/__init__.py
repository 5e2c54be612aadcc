"""The data gate: what is wrong with a data set, before a model learns it."""
