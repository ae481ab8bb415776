"""One file per task: examples into prompts and labels, answers into scores."""
