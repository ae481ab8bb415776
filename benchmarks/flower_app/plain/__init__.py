"""A language model tuned with Flower as its users do it: the template's way, as a deployed app."""
