"""A finished run as a service."""
