"""Tasks: what needs several steps at once. One file each."""
