"""What a client's update becomes on its way into a sum."""
