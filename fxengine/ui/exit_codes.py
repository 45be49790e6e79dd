"""What the command line answers to the shell.

0 fine; 1 a usage mistake, something given cannot be used, or `verify` found fault; 2 finished, but with more failed
inputs than --max-errors allows, or with inputs that are left open since their worker died again and again; 130
interrupted (Ctrl-C), 143 terminated (SIGTERM), 129 where its terminal was closed (SIGHUP).
"""

FINE, MISTAKE, TOO_MANY_ERRORS, INTERRUPTED = 0, 1, 2, 130
