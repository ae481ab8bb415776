"""Personal data in text: found as spans, and taken out."""
