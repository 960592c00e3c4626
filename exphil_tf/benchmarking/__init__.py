"""How fast it is: preprocessing, input, training, and a frame of an exported policy."""
