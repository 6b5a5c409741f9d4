"""What a person or a program reads of a sweep, made from its rows."""
