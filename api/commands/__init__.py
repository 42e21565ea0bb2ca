"""The commands of `daybook`, one file a subject."""
