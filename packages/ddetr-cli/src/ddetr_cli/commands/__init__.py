"""The subtasks: one module each, with its checks and its work."""
