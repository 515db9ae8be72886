"""Code that runs inside the sandbox, beside the model's code. Standard library only."""
