"""The Kaiju models: a dense decoder of our operators, from int8 weights to the next token."""
