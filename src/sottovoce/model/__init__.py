"""The base model and its tokenizer, grouped adapters, and their form on disk."""
