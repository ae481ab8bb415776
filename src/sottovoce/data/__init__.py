"""Conversations from files, their owners, and their partition into clients."""
