"""Training: recipes, the loop, checkpoints, and the machine it runs on."""
