"""Float networks to integer graphs."""
