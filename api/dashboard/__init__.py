"""The pages that people look at, and the numbers that move on them while they do."""
