"""The programs that train in a process of their own."""
