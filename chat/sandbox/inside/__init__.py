"""What runs behind the wall, beside the model's code. Only the standard library is there."""
